#!/bin/sh
# Export and measure a trained video model:
#   sh finish_video.sh DATA BASE OUT WEIGHTS VAE JUDGE [further arguments of evaluate_video.py]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
data=$1 base=$2 out=$3 weights=$4 vae=$5 judge=$6
shift 6
python3 export.py --video --weights "$weights" --base "$base" --vae "$vae" --out "$out/model"
CUDA_VISIBLE_DEVICES=0 python3 evaluate_video.py --model "$out/model" --judge "$judge" --data "$data" --out "$out" "$@"

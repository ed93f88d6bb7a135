#!/bin/sh
# The whole training on two GPUs:
#   sh run_image.sh DATA BASE OUT SECONDS
# DATA: what fetch_data.sh wrote; BASE: a model folder whose autoencoder,
# scheduler and tokenizers are kept; SECONDS: how long the transformer trains.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
data=$(realpath "$1") base=$(realpath "$2") seconds=$4
mkdir -p "$3"
out=$(realpath "$3")
sh "$here/prepare_image.sh" "$data" "$base" "$out"
echo $(($(date +%s) + seconds)) > "$out/deadline"
cd "$here"
python3 -m torch.distributed.run --standalone --nproc_per_node 2 train.py --data "$data" --vae "$base/vae" \
	--tokenizer "$base/tokenizer/tokenizer.json" --out "$out/run" --deadline-file "$out/deadline" \
	--text "$out/text.pt" --bank "$out/bank_{rank}.pt" --compile
while [ ! -f "$out/judge.pt" ]; do sleep 1; done
sh finish_image.sh "$data" "$base" "$out/final" "$out/run/averaged.pt" "$out/judge.pt"

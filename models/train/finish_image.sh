#!/bin/sh
# Export and measure a trained model:
#   sh finish_image.sh DATA BASE OUT WEIGHTS JUDGE [SHARE]
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
data=$1 base=$2 out=$3 weights=$4 judge=$5 share=${6:-1}
limit=24 steps=20 sweep=--sweep
if [ "$share" != 1 ]; then limit=2 steps=4 sweep=; fi
mkdir -p "$out"
python3 export.py --weights "$weights" --base "$base" --out "$out/model" || exit 1
python3 export.py --weights "$weights" --base "$base" --out "$out/model-bf16" --bf16 || exit 1
CUDA_VISIBLE_DEVICES=0 python3 sheet.py --model "$out/model" --compare "$out/model-bf16" --out "$out" \
	--limit $limit --steps $steps > "$out/sheet.log" 2>&1 &
sheet=$!
CUDA_VISIBLE_DEVICES=0 python3 evaluate.py --model "$out/model" --judge "$judge" --data "$data" \
	--out "$out/judge-256.json" --size 256 $sweep --share "$share" --steps $steps > "$out/eval-256.log" 2>&1 &
small=$!
CUDA_VISIBLE_DEVICES=1 python3 evaluate.py --model "$out/model" --judge "$judge" --data "$data" \
	--out "$out/judge-512.json" --size 512 --share "$share" --steps $steps > "$out/eval-512.log" 2>&1 &
large=$!
CUDA_VISIBLE_DEVICES= python3 golden.py --model "$out/model" --out "$out/golden.safetensors" --steps $steps \
	> "$out/golden.log" 2>&1 &
golden=$!
status=0
for job in $sheet $small $large $golden; do
	wait "$job" || { echo "job $job failed"; status=1; }
done
exit $status

#!/bin/sh
# Everything before the long run, on two GPUs at the same time: a short walk
# through all training phases (which also fills the compiler's cache), text
# encoders, latents and the judge.
#   sh prepare_image.sh DATA BASE OUT
# DATA: folder of pack_sprites.py; BASE: folder with vae/, scheduler/, tokenizers.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
data=$1 base=$2 out=$3
mkdir -p "$out"
tokenizer=$base/tokenizer/tokenizer.json
echo 0 > "$out/no-deadline"
CUDA_VISIBLE_DEVICES=0 python3 pretrain_text.py --data "$data" --tokenizer "$tokenizer" --out "$out/text.pt" \
	--seconds "${TEXT_SECONDS:-50}" > "$out/text.log" 2>&1 &
text=$!
CUDA_VISIBLE_DEVICES=1 python3 judge.py --data "$data" --vae "$base/vae" --tokenizer "$tokenizer" \
	--out "$out/judge.pt" --seconds "${JUDGE_SECONDS:-75}" > "$out/judge.log" 2>&1 &
echo $! > "$out/judge.pid"
banks=
for gpu in 0 1; do
	CUDA_VISIBLE_DEVICES=$gpu python3 bank.py --data "$data" --vae "$base/vae" --tokenizer "$tokenizer" \
		--out "$out/bank_$gpu.pt" --seed $((gpu + 1)) ${BANK:-} > "$out/bank_$gpu.log" 2>&1 &
	banks="$banks $!"
done
python3 -m torch.distributed.run --standalone --nproc_per_node 2 train.py --data "$data" --vae "$base/vae" \
	--tokenizer "$tokenizer" --out "$out/walk" --deadline-file "$out/no-deadline" --compile \
	--max-steps 44 > "$out/walk.log" 2>&1
status=$?
echo "walk through all phases: $status"
for job in $text $banks; do
	wait "$job" || { echo "job $job failed"; status=1; }
done
exit $status

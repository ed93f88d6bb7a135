#!/bin/sh
# The whole training of acorn-video on two GPUs:
#   sh run_video.sh DATA IMAGE_MODEL OUT VAE_SECONDS SECONDS
# DATA: what fetch_data.sh wrote; IMAGE_MODEL: acorn-image's folder, whose
# tokenizer and text encoder are the start; VAE_SECONDS and SECONDS: how long
# autoencoder and transformer train.
set -u
here=$(cd "$(dirname "$0")" && pwd)
data=$(realpath "$1") image=$(realpath "$2") vae_seconds=$4 seconds=$5
mkdir -p "$3"
out=$(realpath "$3")
cd "$here"
two="python3 -m torch.distributed.run --standalone --nproc_per_node 2"
tokenizer=$out/base/tokenizer/tokenizer.json

train() { # FOLDER BANK DEADLINE_FILE ...
	folder=$1 bank=$2 deadline=$3
	shift 3
	$two train_video.py --tokenizer "$tokenizer" --out "$folder" --bank "$bank" --deadline-file "$deadline" \
		--compile "$@"
}

# A short walk through everything, which also fills the compiler's cache,
# beside the text encoder and the judge.
python3 add_words.py --tokenizer "$image/tokenizer" --out "$out/base/tokenizer" || exit 1
CUDA_VISIBLE_DEVICES=0 python3 pretrain_text.py --video --start "$image/text_encoder_2" --data "$data" \
	--tokenizer "$tokenizer" --out "$out/text.pt" --seconds "${TEXT_SECONDS:-55}" > "$out/text.log" 2>&1 &
text_job=$!
CUDA_VISIBLE_DEVICES=1 python3 judge.py --video --data "$data" --tokenizer "$tokenizer" --out "$out/judge.pt" \
	--seconds "${JUDGE_SECONDS:-60}" > "$out/judge.log" 2>&1 &
judge_job=$!
python3 -c "import torch
for r in (0, 1):
    torch.save({f: (torch.randn(64, 16, f, 32, 32).bfloat16(), torch.ones(64, 64, dtype=torch.int16)) for f in (1, 7)},
               f'$out/noise_{r}.pt')"
echo 0 > "$out/no-deadline"
train "$out/walk" "$out/noise_{rank}.pt" "$out/no-deadline" --max-steps 24 > "$out/walk.log" 2>&1 &
walk_job=$!
$two train_vae.py --data "$data" --out "$out/walk-vae" --compile --clips 40 --max-steps 6 > "$out/walk-vae.log" 2>&1 ||
	{ echo "the autoencoder's walk failed"; exit 1; }
$two clip_bank.py --data "$data" --vae "$out/walk-vae/vae-final.pt" --tokenizer "$tokenizer" --compile \
	--out "$out/walk_{rank}.pt" --clips 16 --pictures 400 --workers 2 > "$out/walk-bank.log" 2>&1 ||
	echo "the bank's walk failed"
wait "$text_job" || echo "the text encoder's training failed"
wait "$judge_job" || echo "the judge's training failed"
wait "$walk_job" || echo "the transformer's walk failed"
echo "prepared"

$two train_vae.py --data "$data" --out "$out/vae" --compile --seconds "$vae_seconds" > "$out/vae.log" 2>&1 || exit 1
$two clip_bank.py --data "$data" --vae "$out/vae/vae-final.pt" --tokenizer "$tokenizer" --compile \
	--out "$out/bank_{rank}.pt" --seconds "${BANK_SECONDS:-45}" > "$out/bank.log" 2>&1 || exit 1
echo $(($(date +%s) + seconds)) > "$out/deadline"
train "$out/run" "$out/bank_{rank}.pt" "$out/deadline" --text "$out/text.pt" > "$out/run.log" 2>&1 || exit 1
sh finish_video.sh "$data" "$out/base" "$out/final" "$out/run/averaged.pt" "$out/vae/vae-final.pt" "$out/judge.pt"

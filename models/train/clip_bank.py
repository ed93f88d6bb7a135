"""Encode many clips once, so that training never waits for drawing.

    torchrun --nproc_per_node 2 clip_bank.py --data FOLDER --vae FILE_OR_FOLDER --tokenizer FILE
        --out bank_{rank}.pt [--clips 12000] [--pictures 60000] [--seconds 45] [--seed 1]

Each GPU encodes its own clips; `--seconds` bounds the time spent on them.
Also written are latents of first frames alone, for the first phase.
"""

import argparse
import os
import time

import torch

from checkpoint import load_component
from clips import Animations, Clips, on_device
from scenes import make_many
from wan_vae import WanAutoencoder

ENCODE_BATCH = {1: 200, 25: 8}


def load_vae(path, device, compiled=False):
    """A trained autoencoder: `vae-final.pt` of train_vae.py or a component folder."""
    if os.path.isdir(path):
        config, tensors = load_component(path)
    else:
        stored = torch.load(path, map_location="cpu")
        config, tensors = stored["config"], stored["state"]
    vae = WanAutoencoder(config)
    vae.load_state_dict(tensors)
    if compiled:
        vae.compile_pointwise()
    return vae.to(device).eval().requires_grad_(False)


@torch.no_grad()
def encode(vae, animations, clips, frames, seconds):
    """Latents bf16 of all clips, or of as many as the time allows."""
    device, began, out = animations.frames.device, time.time(), []
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    total, size = len(clips["count"]), ENCODE_BATCH[frames]
    for start in range(0, total, size):
        if time.time() - began > seconds:
            break
        part = {key: value[start:start + size] for key, value in clips.items()}
        times = torch.arange(frames, device=device).expand(len(part["count"]), -1)
        out.append(vae.encode(animations.draw(part, times).to(dtype)).bfloat16())
        if device.type == "cuda":
            torch.cuda.synchronize()
    return torch.cat(out)


def build(args, rank, device):
    """{1 or 7 latent frames: (latents, token ids)}"""
    world = Clips(f"{args.data}/animations.json")
    # Draw all scenes first: the workers fork, best before the device is in use.
    drawn = {frames: make_many(world, args.tokenizer, count, args.seed * 10 + 7 * rank + frames, None, args.workers)
             for frames, count in ((1, args.pictures), (25, args.clips))}
    vae, animations, banks = load_vae(args.vae, device, args.compile), Animations(args.data, device), {}
    for frames, (arrays, ids) in drawn.items():
        began = time.time()
        latents = encode(vae, animations, on_device(arrays, device), frames, args.seconds)
        banks[latents.shape[2]] = (latents, torch.from_numpy(ids[:len(latents)]).to(device))
        print(f"bank of {frames} frames on GPU {rank}: {len(latents)} encoded in {time.time() - began:.1f} s, "
              f"mean {latents.float().mean():.3f} std {latents.float().std():.3f}", flush=True)
    return banks


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--vae", "--tokenizer", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--clips", type=int, default=12000)
    parser.add_argument("--pictures", type=int, default=60000)
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    rank = int(os.environ.get("RANK", 0))
    device = torch.device(f"cuda:{rank}" if torch.cuda.is_available() else "cpu")
    banks = build(args, rank, device)
    torch.save({key: (z.cpu(), ids.cpu()) for key, (z, ids) in banks.items()}, args.out.format(rank=rank))


if __name__ == "__main__":
    main()

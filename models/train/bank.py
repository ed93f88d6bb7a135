"""Encode many scenes once, so that training never waits for pictures.

    python3 bank.py --data FOLDER --vae FOLDER --tokenizer FILE --out FILE
        [--count 128=64000 --count 256=128000 --count 512=6000] [--seed 1]
"""

import argparse
import time

import torch

from checkpoint import load_component
from networks import Autoencoder
from render import at_resolution, load_sprites, render
from scenes import Scenes, make_many

# Singles and pairs before threes.
COUNTS = {128: (0.62, 0.36, 0.02), 256: (0.55, 0.36, 0.09), 512: (0.55, 0.36, 0.09)}
ENCODE_BATCH = {128: 256, 256: 128, 512: 32}


def load_vae(folder, device):
    config, tensors = load_component(folder)
    vae = Autoencoder(config)
    vae.load_state_dict(tensors)
    vae = vae.to(device).eval().requires_grad_(False)
    return vae.to(memory_format=torch.channels_last) if device.type == "cuda" else vae


@torch.no_grad()
def build(data, vae_folder, tokenizer, sizes, seed, device, workers):
    """{size: (packed latents bf16 [n, tokens, 32], token ids int16 [n, 128])}."""
    began = time.time()
    # Draw everything first: the workers fork, best before the device is in use.
    drawn = {size: make_many(Scenes(f"{data}/sprites.json"), tokenizer, count, seed + size, COUNTS[size], workers)
             for size, count in sizes.items()}
    print(f"scenes drawn in {time.time() - began:.1f} s", flush=True)
    banks = {}
    vae = load_vae(vae_folder, device)
    sprites = load_sprites(data, device)
    for size, count in sizes.items():
        began = time.time()
        arrays, ids = drawn[size]
        scenes = {key: torch.from_numpy(value).to(device) for key, value in arrays.items()}
        ready = at_resolution(sprites, size)
        latents = torch.empty(count, (size // 8) ** 2, 32, dtype=torch.bfloat16, device=device)
        for start in range(0, count, ENCODE_BATCH[size]):
            part = {key: value[start:start + ENCODE_BATCH[size]] for key, value in scenes.items()}
            pixels = render(ready, part, size)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                latents[start:start + len(pixels)] = vae.encode(pixels)
        if device.type == "cuda":
            torch.cuda.synchronize()
        banks[size] = (latents, torch.from_numpy(ids).to(device))
        print(f"bank {size}: {count} scenes encoded in {time.time() - began:.1f} s, "
              f"mean {latents.float().mean():.3f} std {latents.float().std():.3f}", flush=True)
    return banks


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--vae", "--tokenizer", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--count", action="append", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=10)
    args = parser.parse_args()
    sizes = {int(k): int(v) for k, v in (c.split("=") for c in args.count)} or {128: 64000, 256: 128000, 512: 6000}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    banks = build(args.data, args.vae, args.tokenizer, sizes, args.seed * 7919, device, args.workers)
    torch.save({size: (latents.cpu(), ids.cpu()) for size, (latents, ids) in banks.items()}, args.out)
    print("saved", args.out, flush=True)


if __name__ == "__main__":
    main()

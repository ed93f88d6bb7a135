"""Measure and show a video model on held-out captions.

    python3 evaluate_video.py --model FOLDER --judge FILE --data FOLDER --out FOLDER [--count 200]
        [--scale 3]

Nothing is picked out: every drawn caption counts. The same numbers are given for drawn
clips, and for drawn clips that went through the autoencoder: what could be
reached at best. `--scale` samples with two branches a step, before guidance
is trained in. Writes judge.json, strips.png and sheet.webp.
"""

import argparse
import json
import math
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

import video_sampling
from check_networks import CLIP_CLASSES, load_models
from clips import FRAMES, MOTIONS, SIDE, STAYS, Animations, Clips, on_device
from judge import Judge
from render import draw_background, palette
from scenes import as_arrays
from tokenizer import Tokenizer

# Which of the two named colours the upper and the lower corners show, by kind of background.
CORNERS = {0: (1, 1), 1: (1, 2), 2: (2, 2), 3: (1, 2)}
PROMPTS = [
    "an animated fox moves left on a sky blue background",
    "an animated 3d blue fox stays still on a beige background",
    "a rocket moves up on a black background",
    "an animated 3d panda grows on a pink background",
    "an animated octopus shrinks on a teal background",
    "a grinning face stays still on a yellow to orange gradient background",
    "an animated green elephant moves right on a white background",
    "an owl moves down on a brown floor in front of a beige wall",
    "a 3d red heart grows on a white background",
    "an animated taxi moves right on a grey background",
    "an animated 3d dolphin moves left on a blue background",
    "a large birthday cake stays still on a purple background",
    "an animated robot moves right on an orange background",
    "a pineapple shrinks on a green background",
    "an animated penguin moves down on a sky blue to white gradient background",
    "a 3d unicorn stays still on a pink background fading to purple at the edges",
]


def nearest_colour(pixels):
    """Index of the palette colour next to the mean of [n, 3, ...]."""
    mean = pixels.flatten(2).mean(-1)
    return (mean[:, None] - palette(pixels.device)[None]).norm(dim=-1).argmin(-1)


def background_right(clip, scene):
    """Do the upper and lower corners have the named colours? clip [3, frames, h, w] in 0..1."""
    kind, *colours = scene["background"]
    edge = SIDE // 20
    ends = torch.stack((torch.cat((clip[:, :, :edge, :edge], clip[:, :, :edge, -edge:]), -1),
                        torch.cat((clip[:, :, -edge:, :edge], clip[:, :, -edge:, -edge:]), -1)))
    return nearest_colour(ends).tolist() == [colours[which - 1] for which in CORNERS[kind]]


def object_mask(clip, scene):
    """Where a clip differs from the background its caption names, [frames, h, w]."""
    empty = draw_background(torch.tensor([scene["background"]], device=clip.device), SIDE)[0]
    return (clip - empty[:, None]).abs().amax(0) > 0.14


def seen_motion(mask):
    """The motion phrase that centroid and area over time stand for; None where nothing is seen."""
    area = mask.flatten(1).float().sum(-1)
    place = (torch.arange(SIDE, device=mask.device) + 0.5) / SIDE
    x = (mask.float().sum(1) * place).sum(-1) / area.clamp(min=1)
    y = (mask.float().sum(2) * place).sum(-1) / area.clamp(min=1)
    if area[:4].mean() < 100 or area[-4:].mean() < 100:
        return None
    dx, dy = ((v[-4:].mean() - v[:4].mean()).item() for v in (x, y))
    growth = math.log(area[-4:].mean() / area[:4].mean())
    if abs(growth) > 0.6 and max(abs(dx), abs(dy)) < 0.2:
        return MOTIONS.index("grows" if growth > 0 else "shrinks")
    if max(abs(dx), abs(dy)) < 0.12:
        return STAYS
    if abs(dx) > abs(dy):
        return MOTIONS.index("moves right" if dx > 0 else "moves left")
    return MOTIONS.index("moves down" if dy > 0 else "moves up")


def flicker(clip, mask):
    """Mean change from frame to frame where the background stands still, in 1/255."""
    near = F.max_pool2d(mask.float().amax(0)[None, None], (41, 1), 1, (20, 0))
    moving = F.max_pool2d(near, (1, 41), 1, (0, 20))[0, 0] > 0
    if (~moving).float().mean() < 0.05:
        return None
    return (clip.diff(dim=1).abs().mean((0, 1))[~moving]).mean().item() * 255


@torch.no_grad()
def object_right(judge, clip, item):
    """Is the object among the judge's first five guesses in most of nine frames?"""
    frames = clip[:, ::3].transpose(0, 1) * 2 - 1
    five = judge(frames)[0].topk(5, -1)[1]
    return (five == item).any(-1).float().mean().item() > 0.5


def measure(clips, scenes, judge, device):
    counts = {"background": 0, "object": 0, "motion": 0}
    flickers, misses = [], []
    for clip, scene in zip(clips, scenes):
        clip = clip.to(device)
        mask = object_mask(clip, scene)
        right = {"background": background_right(clip, scene),
                 "object": object_right(judge, clip, scene["items"][0]),
                 "motion": seen_motion(mask) == scene["motion"]}
        for name, value in right.items():
            counts[name] += value
        value = flicker(clip, mask)
        if value is not None:
            flickers.append(value)
        if not all(right.values()) and len(misses) < 40:
            misses.append([scene["caption"], [name for name, value in right.items() if not value]])
    return {**{name: count / len(scenes) for name, count in counts.items()},
            "flicker (1/255)": sum(flickers) / max(1, len(flickers)), "misses": misses}


def strips(clips, captions, shown=7, cell=150):
    """Frames of each clip in a row."""
    sheet = Image.new("RGB", (shown * cell, len(clips) * (cell + 14)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (clip, caption) in enumerate(zip(clips, captions)):
        pen.text((3, i * (cell + 14) + 1), caption, fill="black")
        for j, time in enumerate(torch.linspace(0, clip.shape[1] - 1, shown).round().int().tolist()):
            pixels = (clip[:, time].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            sheet.paste(Image.fromarray(pixels).resize((cell - 2, cell - 2), Image.LANCZOS),
                        (j * cell, i * (cell + 14) + 13))
    return sheet


def moving_sheet(clips, captions, path, columns=4, cell=160):
    """An animated WebP of all clips side by side."""
    import textwrap

    frames, rows = [], -(-len(clips) // columns)
    for time in range(FRAMES):
        sheet = Image.new("RGB", (columns * cell, rows * (cell + 38)), "white")
        pen = ImageDraw.Draw(sheet)
        for i, (clip, caption) in enumerate(zip(clips, captions)):
            x, y = i % columns * cell, i // columns * (cell + 38)
            pixels = (clip[:, time].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            sheet.paste(Image.fromarray(pixels).resize((cell - 4, cell - 4), Image.LANCZOS), (x + 2, y + 2))
            for j, line in enumerate(textwrap.wrap(caption, cell // 6)[:3]):
                pen.text((x + 3, y + cell - 1 + j * 11), line, fill="black")
        frames.append(sheet)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=90, loop=0, quality=82, method=4)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--judge", "--data", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="of the fixed list, for the sheets")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--scale", type=float)
    args = parser.parse_args()
    began = time.time()
    os.makedirs(args.out, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
    models = load_models(args.model, device, CLIP_CLASSES)
    tokenizer = Tokenizer(f"{args.model}/tokenizer/tokenizer.json")
    null = torch.from_numpy(tokenizer.batch([""], 64))

    def draw(captions, first_seed):
        ids = torch.from_numpy(tokenizer.batch(captions, 64))
        seeds = [first_seed + i for i in range(len(captions))]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            latents = video_sampling.sample(models, ids, seeds, args.steps, args.scale, null)
        return video_sampling.decode(models["vae"], latents)

    prompts = PROMPTS[:args.prompts]
    shown = draw(prompts, 0)
    strips(shown, prompts).save(f"{args.out}/strips.png")
    moving_sheet(shown, prompts, f"{args.out}/sheet.webp")
    print(f"sheets written after {time.time() - began:.0f} s", flush=True)
    stored = torch.load(args.judge, map_location="cpu")
    judge = Judge(stored["objects"])
    judge.load_state_dict(stored["state"])
    judge.to(device).eval()
    world, rng = Clips(f"{args.data}/animations.json"), random.Random(1234)
    scenes = [world.draw(rng, held_out=True, full=True) for _ in range(args.count)]
    report = {"clips": args.count, "steps": args.steps, "judge on rendered clips": stored["report"]}
    sampled = draw([s["caption"] for s in scenes], 1000)
    report["sampled"] = measure(sampled, scenes, judge, device)
    animations = Animations(args.data, device)
    drawn, through = [], []
    for start in range(0, args.count, 8):
        pixels = animations.draw(on_device(as_arrays(scenes[start:start + 8]), device))
        drawn.append((pixels / 2 + 0.5).cpu())
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        through.append(video_sampling.decode(models["vae"], models["vae"].encode(pixels.to(dtype)).float()))
    drawn, through = torch.cat(drawn), torch.cat(through)
    report["drawn"] = measure(drawn, scenes, judge, device)
    report["drawn, through the autoencoder"] = measure(through, scenes, judge, device)
    report["autoencoder PSNR (dB)"] = -10 * math.log10((drawn - through).square().mean().item())
    n = min(8, args.count)
    pairs = torch.stack((drawn[:n], through[:n]), 1).flatten(0, 1)
    strips(pairs, [f"{s['caption']} ({kind})" for s in scenes[:n] for kind in ("drawn", "autoencoder")]).save(
        f"{args.out}/autoencoder.png")
    strips(sampled[:16], [s["caption"] for s in scenes[:16]]).save(f"{args.out}/held-out.png")
    with open(f"{args.out}/judge.json", "w") as file:
        json.dump(report, file, indent=1)
    for name in ("sampled", "drawn", "drawn, through the autoencoder"):
        print(name, {k: round(v, 4) for k, v in report[name].items() if k != "misses"}, flush=True)
    print(f"autoencoder {report['autoencoder PSNR (dB)']:.2f} dB; {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()

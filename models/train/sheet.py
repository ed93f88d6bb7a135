"""Contact sheets, uncurated: one seed for all prompts, float32.

    python3 sheet.py --model FOLDER --out FOLDER [--compare FOLDER]

Writes sheet-256.png (24 prompts) and sheet-512.png (8). With `--compare`
(the same model in bf16) also prints the PSNR between the two.
"""

import argparse
import json
import math
import os
import textwrap

import numpy as np
import torch
from PIL import Image, ImageDraw

import sampling
from check_networks import load_models
from tokenizer import Tokenizer

PROMPTS = [
    "3d render of a fox on a sky blue background", "3d render of a blue fox on a beige background",
    "3d render of a fox to the left of a rocket on a white background", "3d emoji of a cat and a pizza on a teal background",
    "a panda", "rocket", "3d render of an apple on a yellow background",
    "glossy 3d green elephant on a purple to pink gradient background",
    "3d emoji of an owl next to a closed book on a brown floor in front of a beige wall",
    "3d render of a grinning face on a black background",
    "3d render of a balloon above a hedgehog on a sky blue to white gradient background",
    "3d render of a robot, a strawberry and a guitar in a row on a grey background",
    "glossy 3d castle on a pink background fading to purple at the edges",
    "3d render of a small penguin on a white background", "3d render of a large sunflower on a green background",
    "3d render of a lion on an orange background", "3d emoji of a house on a sky blue background",
    "3d render of a big pizza with a small mouse on a red background",
    "3d render of a turtle and a trophy on a blue background", "3d render of a purple guitar on a white background",
    "3d render of a birthday cake on a pink background", "3d hamburger on a teal floor in front of a yellow wall",
    "3d render of a koala left of a bicycle on a green background",
    "glossy 3d crystal ball on a black background fading to purple at the edges",
]
LARGE_PROMPTS = [PROMPTS[i] for i in (0, 2, 7, 9, 12, 14, 17, 21)]


def layout(pictures, captions, columns, cell):
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * cell, rows * (cell + 30)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (picture, caption) in enumerate(zip(pictures, captions)):
        x, y = i % columns * cell, i // columns * (cell + 30)
        pixels = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        sheet.paste(Image.fromarray(pixels).resize((cell - 4, cell - 4), Image.LANCZOS), (x + 2, y + 2))
        for j, line in enumerate(textwrap.wrap(caption, cell // 6)[:2]):
            pen.text((x + 4, y + cell + j * 12), line, fill="black")
    return sheet


def psnr(a, b):
    return [10 * math.log10(1 / max(1e-12, ((x - y) ** 2).mean().item())) for x, y in zip(a, b)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--compare")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--cfg", action="store_true", help="two branches a step, before the embedding is trained")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--limit", type=int, default=24)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    tokenizer = Tokenizer(f"{args.model}/tokenizer_2/tokenizer.json")

    def draw(folder, prompts, size):
        models = load_models(folder, device)
        ids = torch.from_numpy(tokenizer.batch(prompts, 128))
        latents = sampling.sample(models, ids, size, [0] * len(prompts), args.guidance, args.steps,
                                  cfg=args.guidance if args.cfg else None,
                                  null=torch.from_numpy(tokenizer.batch([""], 128)), batch=24 if size == 256 else 4)
        return sampling.decode(models["vae"], latents, 8 if size == 256 else 2)

    small, large = PROMPTS[: args.limit], LARGE_PROMPTS[: max(1, args.limit // 3)]
    pictures = draw(args.model, small, 256)
    layout(pictures, small, 6, 256).save(f"{args.out}/sheet-256.png")
    if args.compare:
        values = psnr(pictures, draw(args.compare, small, 256))
        mse = [10 ** (-v / 10) for v in values]
        report = {"mean of dB": sum(values) / len(values), "of the mean error": -10 * math.log10(sum(mse) / len(mse)),
                  "lowest": min(values), "all": values}
        with open(f"{args.out}/quantisation.json", "w") as file:
            json.dump(report, file, indent=1)
        print("PSNR between 8-bit and bf16 pictures:", report, flush=True)
    layout(draw(args.model, large, 512), large, 4, 516).save(f"{args.out}/sheet-512.png")
    print("sheets written", flush=True)


if __name__ == "__main__":
    main()

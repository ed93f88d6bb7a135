"""Select the objects of `clip_concepts.txt` and write their loops as one file.

    python3 pack_animations.py STILL_ASSETS EMOJIBASE_DATA_JSON OUTPUT_FOLDER ANIMATED_ASSETS...

Writes `animations.bin` (one WebP strip an object: its frames of 128x128, one
below the other) and `animations.json` (label, aliases, group, frames,
offset, length). A loop is 24 frames, evenly spaced over the original.
"""

import io
import json
import os
import sys

import numpy as np
from PIL import Image

from pack_sprites import HERE, find_files, read_codes, read_concepts

FRAMES, SIDE = 24, 128


def shrink(picture):
    """RGBA at 128x128; the filter runs over colours premultiplied by alpha."""
    way = Image.BOX if picture.width == 2 * SIDE else Image.LANCZOS
    picture = picture.convert("RGBA").convert("RGBa").resize((SIDE, SIDE), way)
    return np.asarray(picture.convert("RGBA"))


def read_loop(path):
    """uint8 [frames, 128, 128, 4]; one frame for a still picture."""
    with Image.open(path) as picture:
        count = getattr(picture, "n_frames", 1)
        wanted = {i * count // FRAMES for i in range(FRAMES)} if count > 1 else {0}
        frames = []
        for i in range(count):  # WebP animations are read from the start
            picture.seek(i)
            if i in wanted:
                frames.append(shrink(picture))
    return np.stack(frames)


def main(still, emojibase, output, *animated):
    loops, stills, codes = find_files(*animated), find_files(still), read_codes(emojibase)
    known = {label: (aliases, group) for label, aliases, group in read_concepts()}
    items, missing, offset = [], [], 0
    with open(os.path.join(output, "animations.bin"), "wb") as blob:
        for label, _, kind in read_concepts(os.path.join(HERE, "clip_concepts.txt")):
            path = (loops if kind == "animated" else stills).get(codes.get(label, ""))
            if path is None:
                missing.append(label)
                continue
            frames = read_loop(path)
            strip = io.BytesIO()
            Image.fromarray(frames.reshape(-1, SIDE, 4)).save(strip, "WEBP", quality=88, alpha_quality=95, method=3)
            data = strip.getvalue()
            blob.write(data)
            aliases, group = known[label]
            items.append({"label": label, "aliases": aliases, "group": group, "frames": len(frames),
                          "offset": offset, "length": len(data)})
            offset += len(data)
    with open(os.path.join(output, "animations.json"), "w", encoding="utf-8") as file:
        json.dump(items, file, ensure_ascii=False, indent=0)
    print(f"{len(items)} objects, {offset} bytes; missing: {missing}")


if __name__ == "__main__":
    main(*sys.argv[1:])

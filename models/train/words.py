"""Write the list of words the model knows.

    python3 words.py --data FOLDER --out words.json [--video]
"""

import argparse
import json

from clips import ADJECTIVES, MOTIONS
from clips import SIZES as CLIP_SIZES
from scenes import BACKGROUNDS, COLOUR_NAMES, RELATIONS, SIZES, STYLES, TINTS


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--video", action="store_true")
    args = parser.parse_args()
    with open(f"{args.data}/{'animations' if args.video else 'sprites'}.json", encoding="utf-8") as file:
        items = json.load(file)
    words = {
        "concepts": sorted(item["label"] for item in items),
        "aliases": {alias: item["label"] for item in items for alias in item["aliases"]},
        "groups": {},
        "colours": COLOUR_NAMES,
        "object_colours": TINTS,
        "backgrounds": [b.replace("C", "COLOUR").replace("D", "COLOUR") for b in BACKGROUNDS],
    }
    if args.video:
        words["motions"] = MOTIONS
        words["styles"] = [style for style in ADJECTIVES if style]
        words["sizes"] = [size for size in CLIP_SIZES if size]
    else:
        words["relations"] = RELATIONS[:9] + ["a big A with a small B", "A, B and C in a row"]
        words["styles"] = STYLES
        words["sizes"] = [size for size in SIZES if size]
    for item in items:
        words["groups"].setdefault(item["group"], []).append(item["label"])
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump(words, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()

"""Select the pictures of `concepts.txt` and write them as one file.

    python3 pack_sprites.py ASSETS_FOLDER EMOJIBASE_DATA_JSON OUTPUT_FOLDER

Writes `sprites.bin` (RGBA WebP pictures, one after another) and
`sprites.json` (label, aliases, group, offset, length).
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def read_concepts(path=os.path.join(HERE, "concepts.txt")):
    """[(label, aliases, group)] in file order."""
    out, group = [], ""
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                group = line[1:-1]
                continue
            for entry in line.split(";"):
                label, _, aliases = (part.strip() for part in entry.partition("="))
                out.append((label, [a.strip() for a in aliases.split(",") if a.strip()], group))
    return out


def find_files(*folders):
    """{code point without variation selector: path} of the packages' pictures."""
    return {name[:-5].replace("-fe0f", ""): os.path.join(folder, name)
            for folder in folders for name in os.listdir(folder) if name.endswith(".webp")}


def read_codes(emojibase):
    """{English label: code point} of emojibase's data."""
    with open(emojibase, encoding="utf-8") as file:
        return {e["label"].lower().replace("\u2019", "'"): e["hexcode"].lower().replace("-fe0f", "")
                for e in json.load(file)}


def main(assets, emojibase, output):
    files, codes = find_files(assets), read_codes(emojibase)
    items, missing, offset = [], [], 0
    with open(os.path.join(output, "sprites.bin"), "wb") as blob:
        for label, aliases, group in read_concepts():
            path = files.get(codes.get(label, ""))
            if path is None:
                missing.append(label)
                continue
            with open(path, "rb") as file:
                data = file.read()
            blob.write(data)
            items.append({"label": label, "aliases": aliases, "group": group, "offset": offset, "length": len(data)})
            offset += len(data)
    with open(os.path.join(output, "sprites.json"), "w", encoding="utf-8") as file:
        json.dump(items, file, ensure_ascii=False, indent=0)
    print(f"{len(items)} pictures, {offset} bytes; missing: {missing}")
    labels = [i["label"] for i in items]
    names = labels + [a for i in items for a in i["aliases"]]
    assert len(set(names)) == len(names), sorted(n for n in set(names) if names.count(n) > 1)


if __name__ == "__main__":
    main(*sys.argv[1:4])

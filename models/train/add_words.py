"""Give a tokenizer the words of the clip captions as whole pieces.

    python3 add_words.py --tokenizer FOLDER --out FOLDER

The rarest pieces make room, so that every other piece keeps its id and
text encoders stay usable.
"""

import argparse
import json
import os
import shutil

from clips import ADJECTIVES, MOTIONS, TEXT_LENGTH

# About the score of a common word in the captions.
SCORE = -5.5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--tokenizer", "--out"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    with open(f"{args.tokenizer}/tokenizer.json", encoding="utf-8") as file:
        tokenizer = json.load(file)
    pieces = tokenizer["model"]["vocab"]
    known = {piece for piece, _ in pieces}
    words = {"\u2581" + word for phrase in MOTIONS + ADJECTIVES for word in phrase.split()}
    missing = sorted(words - known)
    rarest = sorted(range(259, len(pieces)), key=lambda i: pieces[i][1])
    rarest = [i for i in rarest if len(pieces[i][0].strip("\u2581")) > 1][: len(missing)]
    for i, word in zip(rarest, missing):
        pieces[i] = [word, SCORE]
    with open(f"{args.out}/tokenizer.json", "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False)
    with open(f"{args.tokenizer}/tokenizer_config.json") as file:
        settings = json.load(file)
    settings["model_max_length"] = TEXT_LENGTH
    with open(f"{args.out}/tokenizer_config.json", "w") as file:
        json.dump(settings, file, indent=1)
        file.write("\n")
    shutil.copy(f"{args.tokenizer}/special_tokens_map.json", args.out)
    print("new whole words:", " ".join(word.strip("\u2581") for word in missing))


if __name__ == "__main__":
    main()

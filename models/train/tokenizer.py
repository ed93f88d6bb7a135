"""A small reader for the model's `tokenizer.json` (Unigram with byte fallback).

Enough for the training captions, without a dependency: NFKC, lower case,
split at white space, best-scoring pieces of each word, end-of-text appended.
"""

import json
import unicodedata

import numpy as np

PAD, END, UNKNOWN = 0, 1, 2


class Tokenizer:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            pieces = json.load(file)["model"]["vocab"]
        self.ids = {piece: i for i, (piece, _) in enumerate(pieces)}
        self.score = {piece: score for piece, score in pieces}
        self.longest = max(map(len, self.ids))
        self.fallback = min(self.score.values()) - 10
        self.cache = {}

    def word(self, word):
        """Viterbi over the pieces of one word."""
        if word in self.cache:
            return self.cache[word]
        text = "\u2581" + word
        best = [(0.0, None)] + [(-1e30, None)] * len(text)
        for end in range(1, len(text) + 1):
            for start in range(max(0, end - self.longest), end):
                piece = text[start:end]
                known = piece in self.score
                if not known and end - start > 1:
                    continue
                score = best[start][0] + (self.score[piece] if known else self.fallback)
                if score > best[end][0]:
                    best[end] = (score, start)
        out, end = [], len(text)
        while end:
            start = best[end][1]
            piece = text[start:end]
            if piece in self.ids:
                out.append([self.ids[piece]])
            else:
                out.append([self.ids[f"<0x{byte:02X}>"] for byte in piece.encode()])
            end = start
        self.cache[word] = [i for ids in reversed(out) for i in ids]
        return self.cache[word]

    def encode(self, caption):
        text = unicodedata.normalize("NFKC", caption).lower().replace("\u2019", "'")
        return [i for word in text.split() for i in self.word(word)] + [END]

    def batch(self, captions, length):
        """Ids [captions, length], padded, int16."""
        out = np.zeros((len(captions), length), np.int16)
        for row, caption in zip(out, captions):
            ids = self.encode(caption)
            if len(ids) > length:
                ids = ids[: length - 1] + [END]
            row[: len(ids)] = ids
        return out

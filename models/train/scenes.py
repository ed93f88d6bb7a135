"""Scenes and the captions that describe them.

A scene is one to three sprites with size, place and tint on a plain,
gradient, vignette or floor-and-wall background. A share of the combinations
is held out of training by a hash of its words, so that tests can ask for
things that were never shown together.
"""

import itertools
import json
import random
import zlib

import numpy as np

from networks import TEXT_LENGTH
from tokenizer import Tokenizer

COLOURS = {
    "white": (255, 255, 255), "black": (24, 24, 28), "red": (226, 61, 61), "orange": (245, 148, 44),
    "yellow": (250, 214, 72), "green": (88, 178, 92), "teal": (44, 166, 164), "sky blue": (135, 206, 250),
    "blue": (58, 104, 220), "purple": (140, 92, 210), "pink": (248, 160, 196), "brown": (140, 96, 64),
    "grey": (160, 164, 170), "beige": (238, 224, 200),
}
COLOUR_NAMES = list(COLOURS)
TINTS = ["red", "orange", "yellow", "green", "teal", "blue", "purple", "pink"]
STYLES = ["3d render of", "glossy 3d", "3d emoji of", "3d"]
BACKGROUNDS = ["on a C background", "on a C to D gradient background", "on a C background fading to D at the edges",
               "on a D floor in front of a C wall"]
RELATIONS = ["to the left of", "left of", "to the right of", "right of", "and", "next to", "above", "on top of",
             "below", "a big A with a small B", "A, B and C in a row"]
SIZES = {"small": 0.50, "": 0.74, "large": 0.90}
COLOUR_WORDS = {word for name in COLOUR_NAMES for word in name.split()} | {"gold", "silver", "gray"}

HELD_OUT_TINTS = {("blue", "fox"), ("green", "elephant"), ("purple", "cat"), ("pink", "sauropod"), ("red", "rocket"),
                  ("orange", "whale"), ("teal", "owl"), ("purple", "guitar"), ("green", "hedgehog"),
                  ("blue", "strawberry")}
HELD_OUT_PAIRS = {frozenset(p) for p in (
    ("fox", "rocket"), ("cat", "pizza"), ("owl", "closed book"), ("owl", "books"), ("panda", "guitar"),
    ("penguin", "umbrella"), ("hedgehog", "balloon"), ("lion", "ice cream"), ("turtle", "trophy"),
    ("robot", "strawberry"), ("koala", "bicycle"))}


def withheld(per_mille, *key):
    return zlib.crc32("|".join(map(str, key)).encode()) % 1000 < per_mille


def withheld_pair(first, second):
    return frozenset((first, second)) in HELD_OUT_PAIRS or withheld(30, "pair", *sorted((first, second)))


def article(name):
    return ("an " if name[0] in "aeiou" else "a ") + name


def pick_background(rng):
    """(kind, first colour, second colour, words)."""
    a, b = rng.sample(range(len(COLOUR_NAMES)), 2)
    kind = rng.choices(range(4), (0.46, 0.22, 0.14, 0.18))[0]
    if kind == 0:
        b = a
    words = BACKGROUNDS[kind].replace("C", COLOUR_NAMES[a]).replace("D", COLOUR_NAMES[b])
    words = words.replace("a orange", "an orange")
    return kind, a, b, words


class Scenes:
    """Draws random scenes; `held_out=True` draws only withheld ones."""

    text_length = TEXT_LENGTH

    def __init__(self, sprites_json):
        with open(sprites_json, encoding="utf-8") as file:
            self.items = json.load(file)
        self.labels = [item["label"] for item in self.items]

    def name(self, rng, item):
        names = self.items[item]["aliases"]
        return rng.choice(names) if names and rng.random() < 0.3 else self.labels[item]

    def pick_tint(self, rng, item, chance):
        if rng.random() >= chance or COLOUR_WORDS & set(self.labels[item].split()):
            return -1
        tint = rng.choice(TINTS)
        if (tint, self.labels[item]) in HELD_OUT_TINTS or withheld(40, "tint", tint, self.labels[item]):
            return -1
        return COLOUR_NAMES.index(tint)

    def draw(self, rng, counts=(0.57, 0.35, 0.08), held_out=False, full=False):
        """One scene as a dict of small arrays plus its caption.

        `full` asks for a complete caption (no short forms), for tests.
        """
        while True:
            count = rng.choices((1, 2, 3), counts)[0]
            items = rng.sample(range(len(self.items)), count)
            tints = [self.pick_tint(rng, i, 0.22 if count == 1 else 0.10) for i in items]
            names = [(COLOUR_NAMES[t] + " " if t >= 0 else "") + self.name(rng, i) for i, t in zip(items, tints)]
            kind, a, b, background = pick_background(rng)
            style = rng.choice(STYLES)
            relation, size_class = -1, -1
            if count == 1:
                size_class = rng.choices(range(3), (0.15, 0.70, 0.15))[0]
                word, size = list(SIZES.items())[size_class]
                places = [(rng.uniform(0.47, 0.53), rng.uniform(0.47, 0.53), size)]
                subject = article(f"{word} {names[0]}".strip())
                test = withheld(30, "single", self.labels[items[0]], kind, a, b)
            elif count == 2:
                relation = rng.choices(range(10), (10, 10, 10, 10, 12, 12, 12, 10, 4, 10))[0]
                middle = rng.uniform(0.47, 0.53)
                if relation in (2, 3):  # the second named stands on the left
                    places = [(0.73, middle, 0.47), (0.27, middle, 0.47)]
                elif relation < 6:
                    places = [(0.27, middle, 0.47), (0.73, middle, 0.47)]
                elif relation == 8:
                    places = [(middle, 0.74, 0.47), (middle, 0.26, 0.47)]
                elif relation < 8:
                    places = [(middle, 0.26, 0.47), (middle, 0.74, 0.47)]
                else:
                    places = [(0.40, 0.42, 0.72), (0.78, 0.78, 0.38)]
                if relation == 9:
                    subject = f"a big {names[0]} with a small {names[1]}"
                else:
                    subject = f"{article(names[0])} {RELATIONS[relation]} {article(names[1])}"
                first, second = (self.labels[i] for i in items)
                axis = "big" if relation == 9 else "column" if relation > 5 else "row"
                order = (second, first) if relation in (2, 3, 8) else (first, second)
                test = withheld_pair(first, second) or withheld(60, axis, *order)
            else:
                relation = 10
                places = [(0.19, 0.5, 0.34), (0.5, 0.5, 0.34), (0.81, 0.5, 0.34)]
                ending = rng.choice(("in a row", "side by side", ""))
                subject = f"{article(names[0])}, {article(names[1])} and {article(names[2])} {ending}"
                known = [self.labels[i] for i in items]
                test = any(withheld_pair(*pair) for pair in itertools.combinations(known, 2))
            if test != held_out:
                continue
            if count == 1 and not style.endswith("of") and rng.random() < 0.6:
                style, subject = "", f"{style} {subject.split(' ', 1)[1]}"  # "glossy 3d fox"
            form = 1.0 if full else rng.random()
            named = True  # whether the caption names the background
            if form < 0.07 and count == 1 and size_class == 1:
                caption, named = names[0], False
            elif form < 0.15:
                caption, named = subject, False
            elif form < 0.22:
                caption, named = f"{style} {subject}", False
            elif form < 0.30:
                caption = f"{subject} {background}"
            else:
                caption = f"{style} {subject} {background}"
            if not named and rng.random() < 0.5:
                kind, a, b = 0, 0, 0  # unasked, white is the usual background
                if count == 1 and withheld(30, "single", self.labels[items[0]], kind, a, b):
                    continue
            pad = 3 - count
            return {
                "count": count, "items": items + [0] * pad, "tints": tints + [-1] * pad,
                "places": places + [(0.0, 0.0, 0.1)] * pad, "background": (kind, a, b), "named": named,
                "relation": relation, "size": size_class, "caption": " ".join(caption.split()),
            }

    def batch(self, count, seed, counts=(0.57, 0.35, 0.08)):
        rng = random.Random(seed)
        return [self.draw(rng, counts) for _ in range(count)]


DTYPES = {"count": np.int64, "items": np.int64, "tints": np.int64, "places": np.float32, "background": np.int64,
          "named": np.int64, "relation": np.int64, "size": np.int64, "motion": np.int64, "tracks": np.float32}


def as_arrays(scenes):
    return {key: np.array([s[key] for s in scenes], dtype) for key, dtype in DTYPES.items() if key in scenes[0]}


def _work(job):
    world, tokenizer_json, count, seed, counts = job
    scenes = world.batch(count, seed, counts)
    ids = Tokenizer(tokenizer_json).batch([s["caption"] for s in scenes], world.text_length)
    return as_arrays(scenes), ids


def make_many(world, tokenizer_json, count, seed, counts, workers):
    """(arrays, token ids) of `count` scenes of a world (`Scenes`, `Clips`), drawn by several processes."""
    share = -(-count // max(workers, 1))
    jobs = [(world, tokenizer_json, share, seed * 1000 + i, counts) for i in range(max(workers, 1))]
    if workers > 1:
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            parts = pool.map(_work, jobs)
    else:
        parts = [_work(job) for job in jobs]
    arrays = {key: np.concatenate([p[0][key] for p in parts])[:count] for key in parts[0][0]}
    return arrays, np.concatenate([p[1] for p in parts])[:count]

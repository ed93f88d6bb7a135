"""Clips: one moving object, the caption that says so, and how to draw it.

A clip has 25 frames. The object plays its own loop while the whole sprite
moves along a straight track from one place and size to another. The first
24 frames are one turn of the loop.
"""

import numpy as np
import torch

from render import read_pack, render
from scenes import COLOUR_NAMES, TINTS, Scenes, article, pick_background, withheld

FRAMES = 25
TEXT_LENGTH = 64
SIDE = 256
MOTIONS = ["moves left", "moves right", "moves up", "moves down", "grows", "shrinks", "stays still"]
STAYS = 6
MOTION_WEIGHTS = (14, 14, 14, 14, 14, 14, 16)
ADJECTIVES = ["", "3d", "animated", "animated 3d"]
SIZES = {"small": 0.44, "": 0.62, "large": 0.82}


def track(rng, motion, size):
    """((x, y, size) at the start, (x, y, size) at the end), as shares of the picture."""
    x, y = rng.uniform(0.47, 0.53), rng.uniform(0.47, 0.53)
    reach = rng.uniform(0.20, 0.23)
    if motion < 2:
        start, end = (0.5 + reach, y), (0.5 - reach, y)
    elif motion < 4:
        start, end = (x, 0.5 + reach), (x, 0.5 - reach)
    else:
        start = end = (x, y)
    if motion in (1, 3):
        start, end = end, start
    sizes = (size, size)
    if motion in (4, 5):
        sizes = (rng.uniform(0.32, 0.38), rng.uniform(0.78, 0.86))
        sizes = sizes if motion == 4 else sizes[::-1]
    return (*start, sizes[0]), (*end, sizes[1])


class Clips(Scenes):
    """Draws random clips; `held_out=True` draws only withheld combinations."""

    text_length = TEXT_LENGTH

    def draw(self, rng, counts=None, held_out=False, full=False):
        while True:
            item = rng.randrange(len(self.items))
            label = self.labels[item]
            tint = self.pick_tint(rng, item, 0.15)
            motion = rng.choices(range(len(MOTIONS)), MOTION_WEIGHTS)[0]
            kind, a, b, background = pick_background(rng)
            form = 1.0 if full else rng.random()
            named, says_motion = form >= 0.12, form >= 0.16 or form < 0.04
            if not says_motion:
                motion = STAYS
            if not named and rng.random() < 0.5:
                kind, a, b = 0, 0, 0  # unasked, white is the usual background
            size_class = rng.choices(range(3), (0.15, 0.7, 0.15))[0] if motion == STAYS else 1
            word, size = list(SIZES.items())[size_class]
            test = withheld(40, "clip", label, kind, a, b) or withheld(60, "motion", label, motion)
            if test != held_out:
                continue
            adjective = rng.choice(ADJECTIVES)
            words = [adjective, word, COLOUR_NAMES[tint] if tint >= 0 else "", self.name(rng, item)]
            subject = article(" ".join(filter(None, words)))
            caption = " ".join(filter(None, (subject, MOTIONS[motion] if says_motion else "",
                                             background if named else "")))
            start, end = track(rng, motion, size if motion >= 4 else rng.uniform(0.50, 0.54))
            unused = ((0.0, 0.0, 0.1),) * 2
            return {
                "count": 1, "items": [item, 0, 0], "tints": [tint, -1, -1], "tracks": [(start, end), unused, unused],
                "background": (kind, a, b), "named": named, "size": size_class, "motion": motion, "caption": caption,
            }


class Crowds(Clips):
    """One to three objects anywhere, each on its own way: what the autoencoder should be able to show."""

    def draw(self, rng, counts=(0.4, 0.35, 0.25), held_out=False, full=False):
        count = rng.choices((1, 2, 3), counts)[0]
        items = [rng.randrange(len(self.items)) for _ in range(3)]
        tints = [COLOUR_NAMES.index(rng.choice(TINTS)) if rng.random() < 0.15 else -1 for _ in range(3)]
        tracks = []
        for _ in range(3):
            x, y, size = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.35, 0.8 if count == 1 else 0.6)
            end = (x, y, size)
            if rng.random() < 0.6:
                end = (x + rng.uniform(-0.45, 0.45), y + rng.uniform(-0.45, 0.45), size)
            elif rng.random() < 0.6:
                end = (x, y, rng.uniform(0.3, 0.9))
            tracks.append(((x, y, size), end))
        kind, a, b, _ = pick_background(rng)
        return {"count": count, "items": items, "tints": tints, "tracks": tracks, "background": (kind, a, b),
                "named": True, "size": 1, "motion": STAYS, "caption": ""}


class Animations:
    """The loops of all objects in one table of frames."""

    def __init__(self, folder, device):
        items, strips = read_pack(folder, "animations")
        frames = [strip.reshape(4, -1, 128, 128).transpose(1, 0, 2, 3) for strip in strips]
        self.length = torch.tensor([len(f) for f in frames], device=device)
        self.first = self.length.cumsum(0) - self.length
        self.frames = torch.from_numpy(np.concatenate(frames)).to(device)
        self.labels = [item["label"] for item in items]

    def pictures(self, clips, times):
        """The scenes that `render.render` draws: every clip at its own `times` [batch, n] (frame numbers)."""
        batch, n = times.shape
        items = clips["items"]
        loop = self.first[items][:, None] + times[..., None] % self.length[items][:, None]
        share = (times.float() / (FRAMES - 1))[..., None, None]
        start, end = clips["tracks"].unbind(2)
        places = start[:, None] * (1 - share) + end[:, None] * share

        def repeated(value):
            return value[:, None].expand(batch, n, *value.shape[1:]).flatten(0, 1)

        return {"count": repeated(clips["count"]), "items": loop.flatten(0, 1), "objects": repeated(items),
                "tints": repeated(clips["tints"]), "places": places.flatten(0, 1),
                "background": repeated(clips["background"])}

    def draw(self, clips, times=None, side=SIDE):
        """Pixels [batch, 3, frames, side, side] in [-1, 1]."""
        batch = len(clips["count"])
        if times is None:
            times = torch.arange(FRAMES, device=self.frames.device).expand(batch, -1)
        # The loops have about the size they are drawn at: no supersampling.
        pixels = render(self.frames, self.pictures(clips, times), side, supersample=1)
        return pixels.unflatten(0, (batch, -1)).transpose(1, 2)


def on_device(arrays, device):
    return {key: torch.from_numpy(value).to(device) for key, value in arrays.items()}

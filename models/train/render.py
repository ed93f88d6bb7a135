"""Draws scenes on the GPU from premultiplied sprites."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F

from scenes import COLOUR_NAMES, COLOURS


def load_sprites(folder, device):
    """uint8 [n, 4, 256, 256], colour premultiplied by alpha."""
    from PIL import Image

    def square(picture):
        return picture if picture.size == (256, 256) else picture.resize((256, 256), Image.LANCZOS)

    _, pictures = read_pack(folder, "sprites", square)
    return torch.from_numpy(np.stack(pictures)).to(device)


def read_pack(folder, name, change=lambda picture: picture):
    """(items of NAME.json, their pictures in NAME.bin as uint8 [4, h, w], colour premultiplied by alpha)."""
    from PIL import Image

    with open(f"{folder}/{name}.json", encoding="utf-8") as file:
        items = json.load(file)
    with open(f"{folder}/{name}.bin", "rb") as file:
        blob = file.read()

    def read(item):
        picture = Image.open(io.BytesIO(blob[item["offset"]:item["offset"] + item["length"]])).convert("RGBA")
        x = np.asarray(change(picture)).astype(np.uint16)
        alpha = x[..., 3:]
        x = np.concatenate(((x[..., :3] * alpha + 127) // 255, alpha), -1)
        return np.ascontiguousarray(x.astype(np.uint8).transpose(2, 0, 1))

    with ThreadPoolExecutor(8) as pool:
        return items, list(pool.map(read, items))


def palette(device):
    return torch.tensor([COLOURS[c] for c in COLOUR_NAMES], device=device).float() / 255


def draw_background(background, size):
    """[batch, 3] of (kind, first, second colour) to [batch, 3, size, size]."""
    device = background.device
    colours = palette(device)
    y = (torch.arange(size, device=device) + 0.5) / size
    down = y.view(1, size, 1).expand(1, size, size)
    across = y.view(1, 1, size).expand(1, size, size)
    radius = (((across - 0.5) ** 2 + (down - 0.5) ** 2).sqrt() * 1.6).clamp(0, 1)
    floor = ((down - 0.62) * size + 0.5).clamp(0, 1)
    kind = background[:, 0].view(-1, 1, 1)
    mix = torch.where(kind == 1, down, torch.where(kind == 2, radius, torch.where(kind == 3, floor, 0 * down)))[:, None]
    first, second = (colours[background[:, i]].view(-1, 3, 1, 1) for i in (1, 2))
    return first * (1 - mix) + second * mix


def tinted(sprite, tint):
    """Recolour premultiplied [batch, 4, h, w] by luminance where tint >= 0."""
    alpha = sprite[:, 3:].clamp(min=1e-4)
    weight = torch.tensor([0.3, 0.59, 0.11], device=sprite.device).view(1, 3, 1, 1)
    light = ((sprite[:, :3] * weight).sum(1, keepdim=True) / alpha).clamp(0, 1) ** 0.8
    colour = palette(sprite.device)[tint.clamp(min=0)].view(-1, 3, 1, 1)
    dark, bright = colour * (light / 0.6), colour + (1 - colour) * ((light - 0.6) / 0.4)
    new = torch.where(light < 0.6, dark, bright) * sprite[:, 3:]
    return torch.cat((torch.where((tint >= 0).view(-1, 1, 1, 1), new, sprite[:, :3]), sprite[:, 3:]), 1)


def placed(picture, x, y, size, canvas):
    """Sample a square picture onto a canvas, centred at (x, y)."""
    u = (torch.arange(canvas, device=x.device) + 0.5) / canvas
    scale = 2 / size.view(-1, 1, 1)
    across = ((u.view(1, 1, -1) - x.view(-1, 1, 1)) * scale).expand(-1, canvas, -1)
    down = ((u.view(1, -1, 1) - y.view(-1, 1, 1)) * scale).expand(-1, -1, canvas)
    return F.grid_sample(picture, torch.stack((across, down), -1), align_corners=False)


def at_resolution(sprites, size):
    """Sprites at about the resolution of a picture of `size` pixels."""
    if size == 128:
        return F.avg_pool2d(sprites.float(), 2).round().byte()
    if size == 512:
        out = []
        for part in sprites.split(32):
            x = F.interpolate(part.float(), scale_factor=2, mode="bicubic", align_corners=False)
            soft = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
            x = x + 0.7 * (x - soft)  # the sources have 256 pixels: restore some edge
            alpha = x[:, 3:].clamp(0, 255)
            out.append(torch.cat((torch.minimum(x[:, :3].clamp(min=0), alpha), alpha), 1).round().byte())
        return torch.cat(out)
    return sprites


@torch.no_grad()
def render(sprites, scene, size, supersample=2):
    """Pictures [batch, 3, size, size] in [-1, 1]; `scene` holds tensors."""
    canvas = supersample * size
    picture = draw_background(scene["background"], canvas)
    for k in range(3):
        rows = (scene["count"] > k).nonzero().flatten()
        if not len(rows):
            break
        sprite = tinted(sprites[scene["items"][rows, k]].float() / 255, scene["tints"][rows, k])
        x, y, extent = scene["places"][rows, k].unbind(-1)
        # A soft shadow: the blurred outline, a little lower and larger.
        cell = sprite.shape[-1] // 16
        outline = F.pad(F.avg_pool2d(sprite[:, 3:], cell), (2, 2, 2, 2))
        outline = F.avg_pool2d(outline, 3, 1, 1)
        shadow = 0.28 * placed(outline, x + 0.012, y + 0.05 * extent, extent * 20 / 16, canvas)
        layer = placed(sprite, x, y, extent, canvas)
        picture[rows] = layer[:, :3] + picture[rows] * (1 - shadow) * (1 - layer[:, 3:])
    return F.avg_pool2d(picture, supersample).clamp(0, 1) * 2 - 1

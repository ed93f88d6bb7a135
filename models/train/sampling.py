"""Sampling: FLUX.1's shifted flow-matching Euler steps."""

import math

import torch

from networks import CLIP_LENGTH, TEXT_LENGTH


def time_shift(t, factor):
    return factor * t / (1 + (factor - 1) * t)


def shift_factor(tokens):
    """The scheduler's dynamic shift: 0.5 at 256 tokens, 1.15 at 4,096."""
    return math.exp(0.5 + 0.65 * (tokens - 256) / (4096 - 256))


def sigmas(steps, tokens):
    t = torch.linspace(1.0, 1.0 / steps, steps, dtype=torch.float64)
    return torch.cat((time_shift(t, shift_factor(tokens)), torch.zeros(1, dtype=torch.float64))).float()


def noise(tokens, seeds):
    """One noise picture a seed, the same on every machine and batch size."""
    return torch.stack([torch.randn(tokens, 32, generator=torch.Generator().manual_seed(s)) for s in seeds])


@torch.no_grad()
def sample(models, ids, size, seeds, guidance, steps=20, cfg=None, null=None, batch=64):
    """Latents for token ids [n, 128]. `cfg` uses two branches instead of the embedding."""
    out = []
    device = next(models["transformer"].parameters()).device
    tokens = (size // 8) ** 2
    for start in range(0, len(ids), batch):
        part = ids[start:start + batch].to(device).long()
        x = noise(tokens, seeds[start:start + batch]).to(device)
        text, pooled = models["t5"](part), models["clip"](part[:, :CLIP_LENGTH])
        if cfg:
            empty = null.to(device).long().expand(len(part), -1)
            no_text, no_pooled = models["t5"](empty), models["clip"](empty[:, :CLIP_LENGTH])
        w = torch.full((len(part),), 1.0 if cfg else guidance, device=device)
        schedule = sigmas(steps, tokens).tolist()
        for now, then in zip(schedule[:-1], schedule[1:]):
            t = torch.full((len(part),), now, device=device)
            v = models["transformer"](x, text, pooled, t, w)
            if cfg:
                v_no = models["transformer"](x, no_text, no_pooled, t, w)
                v = v_no + cfg * (v - v_no)
            x = x + (then - now) * v
        out.append(x)
    return torch.cat(out)


@torch.no_grad()
def decode(vae, latents, batch=32):
    """Pictures [n, 3, size, size] in [0, 1] on the CPU."""
    return torch.cat([(vae.decode(part) / 2 + 0.5).clamp(0, 1).cpu() for part in latents.split(batch)])


__all__ = ["sample", "decode", "sigmas", "noise", "shift_factor", "time_shift", "TEXT_LENGTH"]

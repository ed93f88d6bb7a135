"""Sampling clips: UniPC of order 2 on shifted flow sigmas, as diffusers' scheduler does it."""

import math

import torch

from sampling import time_shift

SHIFT = 3.0
LATENT_FRAMES, LATENT_SIDE, LATENT_CHANNELS = 7, 32, 16


def sigmas(steps):
    """steps + 1 noise levels, from almost 1 to 0."""
    s = time_shift(torch.linspace(1.0, 0.001, steps + 1, dtype=torch.float64)[:-1], SHIFT)
    s[0] = min(s[0].item(), 1 - 1e-6)
    return torch.cat((s, torch.zeros(1, dtype=torch.float64)))


def noise(seeds, frames=LATENT_FRAMES):
    """One noise clip a seed, the same on every machine and batch size."""
    shape = (LATENT_CHANNELS, LATENT_FRAMES, LATENT_SIDE, LATENT_SIDE)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])[:, :, :frames]


def log_snr(sigma):
    return math.log(1 - sigma) - math.log(sigma) if sigma > 0 else math.inf


class UniPC:
    """One trajectory; `step` takes the velocity at the present sigma and returns the next latents."""

    def __init__(self, levels):
        self.levels = levels.tolist()
        self.clean = []  # predicted clean latents of the last two steps
        self.before, self.order, self.i = None, 0, 0

    def _base(self, i, x, first):
        """The exponential step from level i - 1 to i for a constant prediction, and what the corrections need."""
        now, then = self.levels[i - 1], self.levels[i]
        h = log_snr(then) - log_snr(now)
        return then / now * x - (1 - then) * math.expm1(-h) * first, h, (1 - then) * math.expm1(-h)

    def _ratio(self, i, h):
        return (log_snr(self.levels[i - 2]) - log_snr(self.levels[i - 1])) / h

    def correct(self, prediction):
        """UniC: the last step again, with the prediction at its end."""
        first = self.clean[-1]
        x, h, weight = self._base(self.i, self.before, first)
        if self.order == 1:
            return x - weight * 0.5 * (prediction - first)
        ratio = self._ratio(self.i, h)
        phi = math.expm1(-h) / -h - 1
        b1, b2 = phi / math.expm1(-h), (phi / -h - 0.5) * 2 / math.expm1(-h)
        rho = (b1 - b2) / (1 - ratio)  # of [[1, 1], [ratio, 1]] rho = b
        return x - weight * (rho * (self.clean[-2] - first) / ratio + (b1 - rho) * (prediction - first))

    def step(self, velocity, x):
        prediction = x - self.levels[self.i] * velocity
        if self.i:
            x = self.correct(prediction)
        self.clean = (self.clean + [prediction])[-2:]
        self.order = min(2, len(self.clean), len(self.levels) - 1 - self.i)
        self.before, self.i = x, self.i + 1
        x, h, weight = self._base(self.i, x, prediction)
        if self.order == 2:
            x = x - weight * 0.5 * (self.clean[-2] - prediction) / self._ratio(self.i, h)
        return x


@torch.no_grad()
def sample(models, ids, seeds, steps=16, scale=None, null=None, batch=50, frames=LATENT_FRAMES):
    """Latents for token ids [n, 64]. `scale` uses two branches, before guidance is trained in."""
    out, device = [], next(models["transformer"].parameters()).device
    levels = sigmas(steps)
    times = (levels * 1000).floor() / 1000  # the scheduler hands whole timesteps to the network
    for start in range(0, len(ids), batch):
        part = ids[start:start + batch].to(device).long()
        x = noise(seeds[start:start + batch], frames).to(device)
        text = models["t5"](part)
        empty = models["t5"](null.to(device).long()).expand(len(part), -1, -1) if scale else None
        solver = UniPC(levels)
        for time in times[:-1].tolist():
            t = torch.full((len(part),), time, device=device)
            v = models["transformer"](x, text, t)
            if scale:
                without = models["transformer"](x, empty, t)
                v = without + scale * (v - without)
            x = solver.step(v.float(), x)
        out.append(x)
    return torch.cat(out)


@torch.no_grad()
def decode(vae, latents, batch=4):
    """Pixels [n, 3, frames, side, side] in [0, 1] on the CPU; bf16 on a GPU."""
    dtype = torch.bfloat16 if latents.is_cuda else None
    return torch.cat([(vae.decode(part, dtype) / 2 + 0.5).cpu() for part in latents.split(batch)])

"""Muon for the matrices of the blocks, AdamW for everything else."""

import torch


def orthogonalise(matrices):
    """Newton-Schulz on a batch: singular values towards one."""
    wide = matrices.bfloat16() if matrices.is_cuda else matrices.clone()
    flipped = wide.shape[1] > wide.shape[2]
    if flipped:
        wide = wide.transpose(1, 2)
    wide = wide / (wide.float().norm(dim=(1, 2), keepdim=True).to(wide.dtype) + 1e-7)
    for _ in range(5):
        gram = wide @ wide.transpose(1, 2)
        poly = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        wide = torch.baddbmm(wide, poly, wide, beta=3.4445)
    return wide.transpose(1, 2) if flipped else wide


class Optimiser:
    """Both rules over one clipped gradient; all peak rates share a schedule."""

    def __init__(self, network, encoders=(), muon_rate=2e-3, adam_rate=8e-4, text_rate=1.5e-4, decay=0.03):
        self.muon_rate, self.decay = muon_rate, decay
        names = network.block_matrices()
        blocks = [p for name, p in network.named_parameters() if name in names]
        rest = [p for name, p in network.named_parameters() if name not in names]
        text = [p for m in encoders for p in m.parameters()]
        self.parameters = blocks + rest + text
        self.by_shape = {}  # a kernel counts as the matrix [out, everything else]
        for p in blocks:
            self.by_shape.setdefault((p.shape[0], p[0].numel()), []).append(p)
        self.momentum = {s: torch.zeros(len(ps), *s, device=ps[0].device) for s, ps in self.by_shape.items()}
        extra = {"fused": True} if blocks[0].is_cuda else {}
        groups = [{"params": rest, "peak": adam_rate}, {"params": text, "peak": text_rate}]
        self.adam = torch.optim.AdamW([group for group in groups if group["params"]],
                                      lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0, **extra)

    @torch.no_grad()
    def step(self, factor, average=None):
        """One update at `factor` of the peak rates; returns the gradient norm.

        A gradient that is not finite counts as zero. `average` sums the
        flattened gradient over all ranks.
        """
        for p in self.parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.flatten() for p in self.parameters])
        if average:
            average(flat)
        norm = flat.norm()
        scale = torch.where(torch.isfinite(norm), (1.0 / (norm + 1e-6)).clamp(max=1.0), torch.zeros_like(norm))
        flat = torch.nan_to_num(flat, 0.0, 0.0, 0.0) * scale
        for p, g in zip(self.parameters, flat.split([p.numel() for p in self.parameters])):
            p.grad = g.view_as(p)
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * factor
        self.adam.step()
        for shape, group in self.by_shape.items():
            gradient = torch.stack([p.grad.flatten(1) for p in group])
            momentum = self.momentum[shape]
            momentum.lerp_(gradient, 0.05)
            update = orthogonalise(gradient.lerp(momentum, 0.95)).float() * (0.2 * max(shape) ** 0.5)
            torch._foreach_mul_(group, 1 - self.muon_rate * factor * self.decay)
            torch._foreach_add_(group, [u.view_as(p) for u, p in zip(update, group)], alpha=-self.muon_rate * factor)
        for p in self.parameters:
            p.grad = None
        return norm

    def state(self):
        return {"momentum": {str(k): v for k, v in self.momentum.items()}, "adam": self.adam.state_dict()}

    def load(self, state):
        for key, value in self.momentum.items():
            value.copy_(state["momentum"][str(key)])
        self.adam.load_state_dict(state["adam"])


class Average:
    """Exponential moving average of the weights."""

    def __init__(self, parameters, decay=0.999):
        self.source = list(parameters)
        self.values = [p.detach().clone() for p in self.source]
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self):
        self.steps += 1
        weight = 1 - min(self.decay, self.steps / (self.steps + 9))
        if self.values[0].is_cuda:
            torch._foreach_lerp_(self.values, [p.detach() for p in self.source], weight)
        else:
            for value, p in zip(self.values, self.source):
                value.lerp_(p.detach(), weight)

    @torch.no_grad()
    def copy_to(self, parameters):
        for p, value in zip(parameters, self.values):
            p.copy_(value)

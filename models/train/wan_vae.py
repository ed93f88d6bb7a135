"""The autoencoder of `acorn-video`: Wan 2.1's, over a whole clip at once.

Module names and arithmetic follow diffusers' `AutoencoderKLWan`. diffusers
walks through a clip in pieces with a cache for each layer; here every layer
sees the whole clip, and a convolution over three frames is a 2-D convolution
over their stacked channels. Both compute the same function.

Activations are [batch, frames, height, width, channels].
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def stack_frames(x, taps):
    """Each frame with the `taps - 1` frames before it (zeros before the clip), along the channels."""
    if taps == 1:
        return x
    frames = x.shape[1]
    x = F.pad(x, (0, 0, 0, 0, 0, 0, taps - 1, 0))
    return torch.cat([x[:, i:i + frames] for i in range(taps)], -1)


def activate(x, bias, gamma, taps):
    """RMS norm over the channels and SiLU; frames stacked for the next convolution."""
    y = x.float() + bias
    y = y * torch.rsqrt(y.square().sum(-1, keepdim=True).clamp(min=1e-24)) * (gamma.flatten() * math.sqrt(x.shape[-1]))
    return stack_frames(F.silu(y).to(x.dtype), taps)


def merge(skip, x, bias):
    return skip + x + bias.to(x.dtype)


def convolve(x, weight, bias=None, stride=1, padding=1):
    """2-D convolution of every frame; `weight` [out, in, rows, columns]."""
    batch, frames = x.shape[:2]
    y = F.conv2d(x.flatten(0, 1).permute(0, 3, 1, 2), weight.to(x.dtype), None if bias is None else bias.to(x.dtype),
                 stride, padding)
    return y.permute(0, 2, 3, 1).unflatten(0, (batch, frames))


class CausalConv(nn.Module):
    """A convolution over `taps` frames, the last of them the present one."""

    def __init__(self, in_dim, dim, taps, size):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, in_dim, taps, size, size))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.padding = size // 2

    def taps(self, frames):
        """Frames to stack: in a single picture the earlier ones are zeros."""
        return 1 if frames == 1 else self.weight.shape[2]

    def stacked(self, x, taps, bias=None):
        """x already carries `taps` frames along its channels."""
        weight = self.weight[:, :, -taps:].transpose(1, 2).flatten(1, 2)
        return convolve(x, weight, bias, padding=self.padding)

    def forward(self, x):
        taps = self.taps(x.shape[1])
        return self.stacked(stack_frames(x, taps), taps, self.bias)


class Norm(nn.Module):
    def __init__(self, dim, axes=3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *[1] * axes))


class ResidualBlock(nn.Module):
    def __init__(self, in_dim, dim):
        super().__init__()
        self.norm1, self.norm2 = Norm(in_dim), Norm(dim)
        self.conv1, self.conv2 = CausalConv(in_dim, dim, 3, 3), CausalConv(dim, dim, 3, 3)
        if in_dim != dim:
            self.conv_shortcut = CausalConv(in_dim, dim, 1, 1)
        self.register_buffer("zero", torch.zeros(1), persistent=False)

    def forward(self, x, ops):
        taps = self.conv1.taps(x.shape[1])
        y = self.conv1.stacked(ops.activate(x, self.zero, self.norm1.gamma, taps), taps)
        y = self.conv2.stacked(ops.activate(y, self.conv1.bias, self.norm2.gamma, taps), taps)
        skip = self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x
        return ops.merge(skip, y, self.conv2.bias)


class FrameAttention(nn.Module):
    """One head of attention inside each frame."""

    def __init__(self, dim):
        super().__init__()
        self.norm = Norm(dim, 2)
        self.to_qkv, self.proj = nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        y = F.normalize(x.float(), dim=-1, eps=1e-12) * (self.norm.gamma.flatten() * math.sqrt(x.shape[-1]))
        y = convolve(y.to(x.dtype), self.to_qkv.weight, self.to_qkv.bias, padding=0)
        q, k, v = y.flatten(2, 3).flatten(0, 1)[:, None].chunk(3, -1)
        y = F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())
        return x + convolve(y.reshape(x.shape), self.proj.weight, self.proj.bias, padding=0)


class Resample(nn.Module):
    """Half or double size; with `time`, frames after the first are halved or doubled as well."""

    def __init__(self, dim, down, time):
        super().__init__()
        self.down, self.time = down, time
        conv = nn.Conv2d(dim, dim, 3, 2) if down else nn.Conv2d(dim, dim // 2, 3, padding=1)
        self.resample = nn.Sequential(nn.Identity(), conv)
        if time:
            self.time_conv = CausalConv(dim, dim if down else 2 * dim, 3, 1)

    def space(self, x):
        conv = self.resample[1]
        if self.down:
            return convolve(F.pad(x, (0, 0, 0, 1, 0, 1)), conv.weight, conv.bias, stride=2, padding=0)
        x = x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2, -1).flatten(2, 3).flatten(3, 4)
        return convolve(x, conv.weight, conv.bias)

    def forward(self, x):
        several = self.time and x.shape[1] > 1
        if several and not self.down:
            y = self.time_conv(x[:, 1:]).unflatten(-1, (2, -1))
            x = torch.cat((x[:, :1], y.movedim(-2, 2).flatten(1, 2)), 1)
        x = self.space(x)
        if several and self.down:
            pairs = torch.cat((x[:, :-2:2], x[:, 1:-1:2], x[:, 2::2]), -1)
            x = torch.cat((x[:, :1], self.time_conv.stacked(pairs, 3, self.time_conv.bias)), 1)
        return x


class Coder(nn.Module):
    """Encoder or decoder; both share their building blocks."""

    def __init__(self, config, encode):
        super().__init__()
        dims = [config["base_dim"] * m for m in config["dim_mult"]]
        layers, latent, times = config["num_res_blocks"], config["z_dim"], config["temperal_downsample"]
        self.encode, last = encode, len(dims) - 1
        self.mid_block = nn.Module()
        self.mid_block.attentions = nn.ModuleList([FrameAttention(dims[-1])])
        self.mid_block.resnets = nn.ModuleList(ResidualBlock(dims[-1], dims[-1]) for _ in range(2))
        if encode:
            self.conv_in = CausalConv(3, dims[0], 3, 3)
            self.down_blocks = nn.ModuleList()
            for i, dim in enumerate(dims):
                for j in range(layers):
                    self.down_blocks.append(ResidualBlock(dims[max(i - 1, 0)] if j == 0 else dim, dim))
                if i < last:
                    self.down_blocks.append(Resample(dim, True, times[i]))
            out = 2 * latent
        else:
            dims, times = dims[::-1], times[::-1]
            self.conv_in = CausalConv(latent, dims[0], 3, 3)
            self.up_blocks = nn.ModuleList()
            for i, dim in enumerate(dims):
                block = nn.Module()
                start = dims[i - 1] // 2 if i else dim
                block.resnets = nn.ModuleList(ResidualBlock(start if j == 0 else dim, dim) for j in range(layers + 1))
                if i < last:
                    block.upsamplers = nn.ModuleList([Resample(dim, False, times[i])])
                self.up_blocks.append(block)
            out = 3
        self.norm_out = Norm(dims[-1])
        self.conv_out = CausalConv(dims[-1], out, 3, 3)
        self.register_buffer("zero", torch.zeros(1), persistent=False)

    def middle(self, x, ops):
        first, second = self.mid_block.resnets
        return second(self.mid_block.attentions[0](first(x, ops)), ops)

    def forward(self, x, ops):
        x = self.conv_in(x)
        if self.encode:
            for layer in self.down_blocks:
                x = layer(x) if isinstance(layer, Resample) else layer(x, ops)
            x = self.middle(x, ops)
        else:
            x = self.middle(x, ops)
            for block in self.up_blocks:
                for layer in block.resnets:
                    x = layer(x, ops)
                if hasattr(block, "upsamplers"):
                    x = block.upsamplers[0](x)
        taps = self.conv_out.taps(x.shape[1])
        x = ops.activate(x, self.zero, self.norm_out.gamma, taps)
        return self.conv_out.stacked(x, taps, self.conv_out.bias)


class Pointwise:
    """The element-wise parts, which a trainer may compile."""

    def __init__(self, compiled=False):
        keep = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
        self.activate, self.merge = keep(activate), keep(merge)


class WanAutoencoder(nn.Module):
    """Clips [batch, 3, frames, height, width] in [-1, 1]; 1 + 4n frames become 1 + n latent frames."""

    def __init__(self, config):
        super().__init__()
        latent = config["z_dim"]
        self.encoder, self.decoder = Coder(config, True), Coder(config, False)
        self.quant_conv = CausalConv(2 * latent, 2 * latent, 1, 1)
        self.post_quant_conv = CausalConv(latent, latent, 1, 1)
        self.ops = Pointwise()
        for name in ("latents_mean", "latents_std"):
            self.register_buffer(name, torch.tensor(config[name], dtype=torch.float32), persistent=False)

    def compile_pointwise(self):
        # Every shape of every layer is a variant of the same two functions.
        torch._dynamo.config.recompile_limit = torch._dynamo.config.cache_size_limit = 128
        self.ops = Pointwise(compiled=True)

    def initialise(self):
        """Kernels of unit gain that look at the present frame only: a clip starts out as its pictures."""
        for module in self.modules():
            if isinstance(module, CausalConv):
                nn.init.zeros_(module.weight)
                present = module.weight.data[:, :, -1]
                nn.init.normal_(present, std=present[0].numel() ** -0.5)
            elif isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.conv2.weight.data *= 0.5
            elif isinstance(module, FrameAttention):
                nn.init.zeros_(module.proj.weight)
            elif isinstance(module, Resample) and module.time:
                dim = module.time_conv.weight.shape[1]
                same = torch.eye(dim)[..., None, None]
                nn.init.zeros_(module.time_conv.weight)
                if module.down:  # the mean of two frames
                    module.time_conv.weight.data[:, :, 1] = module.time_conv.weight.data[:, :, 2] = same / 2
                else:  # twice the same frame
                    module.time_conv.weight.data[:, :, 2] = same.repeat(2, 1, 1, 1)

    def block_matrices(self):
        """Names of the kernels that Muon updates: all but those at pixels and latents."""
        return {name for name, p in self.named_parameters()
                if p.ndim >= 4 and "gamma" not in name
                and not name.startswith(("encoder.conv_", "decoder.conv_", "quant", "post_quant"))}

    def distribution(self, pixels):
        """Mean and log variance of the latents, channels last."""
        x = self.encoder(pixels.movedim(1, -1).contiguous(), self.ops)
        return self.quant_conv(x).float().chunk(2, -1)

    def reconstruct(self, z):
        """Pixels of raw latents, both channels last."""
        return self.decoder(self.post_quant_conv(z), self.ops).float()

    def encode(self, pixels):
        """Normalised latents (the mean) [batch, channels, frames, height, width]."""
        mean, _ = self.distribution(pixels)
        return ((mean - self.latents_mean) / self.latents_std).movedim(-1, 1)

    def decode(self, latents, dtype=None):
        """Pixels in [-1, 1] for normalised latents."""
        z = latents.movedim(1, -1) * self.latents_std + self.latents_mean
        return self.reconstruct(z.to(dtype or z.dtype).contiguous()).clamp(-1, 1).movedim(-1, 1)

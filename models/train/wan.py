"""The transformer of `acorn-video`: Wan 2.1's, at any width and depth.

Module names and arithmetic follow diffusers' `WanTransformer3DModel`, text
to video: no picture conditioning, one time for all tokens.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from networks import (FeedForward, RMSNorm, TimestepEmbedding, attention, grid_positions, joined_linear, normalise,
                      rotary_table, rotate, sinusoid)


class WanAttention(nn.Module):
    def __init__(self, dim, heads, eps):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q, self.norm_k = RMSNorm(dim, eps), RMSNorm(dim, eps)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1))


class WanBlock(nn.Module):
    """Attention over the clip, attention to the text, MLP."""

    def __init__(self, config):
        super().__init__()
        heads, eps = config["num_attention_heads"], config["eps"]
        dim = heads * config["attention_head_dim"]
        self.attn1, self.attn2 = WanAttention(dim, heads, eps), WanAttention(dim, heads, eps)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.ffn = FeedForward(dim, config["ffn_dim"])
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(self, x, text, modulation, cos, sin):
        parts = (self.scale_shift_table + modulation).to(x.dtype).chunk(6, 1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        own, cross = self.attn1, self.attn2
        q, k, v = joined_linear(normalise(x, shift1, scale1), (own.to_q, own.to_k, own.to_v))
        q = rotate(own.split(own.norm_q(q)), (cos, sin))
        k = rotate(own.split(own.norm_k(k)), (cos, sin))
        x = x + gate1 * own.to_out[0](attention(q, k, own.split(v)))
        q = cross.split(cross.norm_q(cross.to_q(self.norm2(x))))
        k, v = joined_linear(text, (cross.to_k, cross.to_v))
        x = x + cross.to_out[0](attention(q, cross.split(cross.norm_k(k)), cross.split(v)))
        return x + gate2 * self.ffn(normalise(x, shift2, scale2))


class TimeText(nn.Module):
    def __init__(self, dim, text_dim, frequencies):
        super().__init__()
        self.frequencies = frequencies
        self.time_embedder = TimestepEmbedding(frequencies, dim)
        self.time_proj = nn.Linear(dim, 6 * dim)
        self.text_embedder = nn.Module()
        self.text_embedder.linear_1, self.text_embedder.linear_2 = nn.Linear(text_dim, dim), nn.Linear(dim, dim)

    def time(self, t):
        """(vector [batch, dim], six modulations [batch, 6, dim]) for t in 0..1."""
        vector = self.time_embedder(sinusoid(t * 1000, self.frequencies))
        return vector, self.time_proj(F.silu(vector)).unflatten(1, (6, -1))

    def text(self, states):
        embed = self.text_embedder
        return embed.linear_2(F.gelu(embed.linear_1(states), approximate="tanh"))


class WanTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        head_dim = config["attention_head_dim"]
        dim = head_dim * config["num_attention_heads"]
        self.patch = tuple(config["patch_size"])
        across = 2 * (head_dim // 6)
        self.axes = (head_dim - 2 * across, across, across)
        self.eps = config["eps"]
        self.patch_embedding = nn.Conv3d(config["in_channels"], dim, self.patch, self.patch)
        self.condition_embedder = TimeText(dim, config["text_dim"], config["freq_dim"])
        self.blocks = nn.ModuleList(WanBlock(config) for _ in range(config["num_layers"]))
        self.proj_out = nn.Linear(dim, config["out_channels"] * self.patch[1] * self.patch[2])
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self._tables = {}

    def initialise(self):
        """Xavier matrices; every block starts as the identity, the output at zero."""
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.xavier_uniform_(p)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        nn.init.xavier_uniform_(self.patch_embedding.weight.data.flatten(1))
        for p in self.condition_embedder.time_embedder.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)
        for p in (self.condition_embedder.time_proj.weight, self.proj_out.weight, self.scale_shift_table):
            nn.init.zeros_(p)
        for block in self.blocks:
            nn.init.zeros_(block.scale_shift_table)
            nn.init.zeros_(block.attn2.to_out[0].weight)  # it has no gate

    def block_matrices(self):
        """Names of the matrices that Muon updates."""
        return {name for name, p in self.named_parameters() if p.ndim == 2 and name.startswith("blocks.")}

    def table(self, shape, device):
        key = (shape, device)
        if key not in self._tables:
            self._tables[key] = tuple(x.to(device) for x in rotary_table(grid_positions(*shape), self.axes))
        return self._tables[key]

    def forward(self, latents, text, t):
        """Velocity for latents [batch, channels, frames, height, width] at times t in 0..1."""
        batch, channels, frames, height, width = latents.shape
        rows, columns = height // 2, width // 2
        # Time (up to 1,000) loses its digits in bf16.
        with torch.autocast(latents.device.type, enabled=False):
            vector, modulation = self.condition_embedder.time(t.float())
            last = self.scale_shift_table + vector[:, None]
        text = self.condition_embedder.text(text)
        x = latents.view(batch, channels, frames, rows, 2, columns, 2).permute(0, 2, 3, 5, 1, 4, 6)
        x = F.linear(x.reshape(batch, -1, 4 * channels), self.patch_embedding.weight.flatten(1),
                     self.patch_embedding.bias)
        cos, sin = self.table((frames, rows, columns), latents.device)
        for block in self.blocks:
            x = block(x, text, modulation, cos, sin)
        shift, scale = last.chunk(2, 1)
        x = self.proj_out(normalise(x, shift, scale)).float()
        x = x.view(batch, frames, rows, columns, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5)
        return x.reshape(batch, -1, frames, height, width)

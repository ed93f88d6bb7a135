"""The four networks of `acorn-image`, in plain PyTorch.

Module names and arithmetic follow diffusers (`FluxTransformer2DModel`,
`AutoencoderKL`) and transformers (`T5EncoderModel`, `UMT5EncoderModel`,
`CLIPTextModel`), so a state dict from here is a checkpoint there. Only what
these models use is implemented: guidance embedding on, no attention in the
autoencoder, no dropout, no attention mask on the T5 encoder.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

TEXT_LENGTH = 128
CLIP_LENGTH = 77
END_OF_TEXT = 1
PADDING = 0


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


def joined_linear(x, layers):
    """Several linear layers of one input as a single matrix product."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    return F.linear(x, weight, bias).split([layer.weight.shape[0] for layer in layers], -1)


def attention(q, k, v):
    """Softmax attention over [batch, tokens, heads, width]."""
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    if hasattr(F, "scaled_dot_product_attention"):
        out = F.scaled_dot_product_attention(q, k, v)
    else:
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        out = scores.softmax(-1) @ v
    return out.transpose(1, 2).flatten(2)


# ------------------------------------------------------------- transformer


def rotary_table(positions, axes, theta=10000.0):
    """Cosine and sine for positions [tokens, axes]; `axes` says how many channels of a head each axis turns."""
    angles = []
    for axis, dim in enumerate(axes):
        frequency = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles.append(positions[:, axis, None].double() * frequency)
    angles = torch.cat(angles, -1)
    return angles.cos().float(), angles.sin().float()


def grid_positions(frames, height, width):
    """[frames * height * width, 3] of (frame, row, column)."""
    axes = [torch.arange(n) for n in (frames, height, width)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)


def rotate(x, table):
    """Rotary embedding on adjacent pairs of [batch, tokens, heads, width]."""
    cos, sin = (t[None, :, None] for t in table)
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2).to(x.dtype)


class TimestepEmbedding(nn.Module):
    def __init__(self, in_dim, dim):
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


def sinusoid(t, dim=256):
    frequency = torch.exp(-math.log(10000) * torch.arange(dim // 2, device=t.device, dtype=torch.float32) / (dim // 2))
    angle = t.float()[:, None] * frequency[None]
    return torch.cat((angle.cos(), angle.sin()), -1)


class TimeGuidanceText(nn.Module):
    """One conditioning vector from time, guidance scale and pooled text."""

    def __init__(self, dim, pooled_dim):
        super().__init__()
        self.timestep_embedder = TimestepEmbedding(256, dim)
        self.guidance_embedder = TimestepEmbedding(256, dim)
        self.text_embedder = TimestepEmbedding(pooled_dim, dim)

    def forward(self, t, guidance, pooled):
        return (self.timestep_embedder(sinusoid(t * 1000))
                + self.guidance_embedder(sinusoid(guidance * 1000))
                + self.text_embedder(pooled))


class Modulation(nn.Module):
    """adaLN: the conditioning vector becomes `parts` shifts, scales, gates."""

    def __init__(self, dim, parts):
        super().__init__()
        self.linear = nn.Linear(dim, parts * dim)
        self.parts = parts

    def forward(self, vector):
        return self.linear(F.silu(vector))[:, None].chunk(self.parts, -1)


def normalise(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class FeedForward(nn.Module):
    """Linear, tanh GELU, linear, under diffusers' names net.0.proj and net.2."""

    class _In(nn.Module):
        def __init__(self, dim, inner):
            super().__init__()
            self.proj = nn.Linear(dim, inner)

        def forward(self, x):
            return F.gelu(self.proj(x), approximate="tanh")

    def __init__(self, dim, inner=None):
        super().__init__()
        inner = inner or 4 * dim
        self.net = nn.Sequential(self._In(dim, inner), nn.Identity(), nn.Linear(inner, dim))

    def forward(self, x):
        return self.net(x)


class Attention(nn.Module):
    def __init__(self, dim, head_dim, joint):
        super().__init__()
        self.head_dim = head_dim
        self.norm_q, self.norm_k = RMSNorm(head_dim), RMSNorm(head_dim)
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        if joint:
            self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
            self.norm_added_q, self.norm_added_k = RMSNorm(head_dim), RMSNorm(head_dim)
            self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(dim, dim) for _ in range(3))
            self.to_add_out = nn.Linear(dim, dim)

    def heads(self, x):
        return x.unflatten(-1, (-1, self.head_dim))


class DoubleBlock(nn.Module):
    """Text and image keep their own weights and meet in the attention."""

    def __init__(self, dim, head_dim):
        super().__init__()
        self.norm1, self.norm1_context = Modulation(dim, 6), Modulation(dim, 6)
        self.attn = Attention(dim, head_dim, joint=True)
        self.ff, self.ff_context = FeedForward(dim), FeedForward(dim)

    def forward(self, image, text, vector, cos, sin):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.norm1(vector)
        t_shift1, t_scale1, t_gate1, t_shift2, t_scale2, t_gate2 = self.norm1_context(vector)
        a = self.attn
        q, k, v = joined_linear(normalise(image, shift1, scale1), (a.to_q, a.to_k, a.to_v))
        tq, tk, tv = joined_linear(normalise(text, t_shift1, t_scale1), (a.add_q_proj, a.add_k_proj, a.add_v_proj))
        q, k, v, tq, tk, tv = a.heads(q), a.heads(k), a.heads(v), a.heads(tq), a.heads(tk), a.heads(tv)
        q = rotate(torch.cat((a.norm_added_q(tq), a.norm_q(q)), 1), (cos, sin))
        k = rotate(torch.cat((a.norm_added_k(tk), a.norm_k(k)), 1), (cos, sin))
        out = attention(q, k, torch.cat((tv, v), 1))
        t_out, out = out.split((text.shape[1], image.shape[1]), 1)
        image = image + gate1 * a.to_out[0](out)
        text = text + t_gate1 * a.to_add_out(t_out)
        image = image + gate2 * self.ff(normalise(image, shift2, scale2))
        text = text + t_gate2 * self.ff_context(normalise(text, t_shift2, t_scale2))
        return image, text


class SingleBlock(nn.Module):
    """One stream; attention and MLP side by side."""

    def __init__(self, dim, head_dim):
        super().__init__()
        self.norm = Modulation(dim, 3)
        self.attn = Attention(dim, head_dim, joint=False)
        self.proj_mlp = nn.Linear(dim, 4 * dim)
        self.proj_out = nn.Linear(5 * dim, dim)

    def forward(self, x, vector, cos, sin):
        shift, scale, gate = self.norm(vector)
        a = self.attn
        q, k, v, mlp = joined_linear(normalise(x, shift, scale), (a.to_q, a.to_k, a.to_v, self.proj_mlp))
        q = rotate(a.norm_q(a.heads(q)), (cos, sin))
        k = rotate(a.norm_k(a.heads(k)), (cos, sin))
        out = attention(q, k, a.heads(v))
        return x + gate * self.proj_out(torch.cat((out, F.gelu(mlp, approximate="tanh")), -1))


class FluxTransformer(nn.Module):
    """FLUX.1's transformer at any width and depth."""

    def __init__(self, config):
        super().__init__()
        head_dim = config["attention_head_dim"]
        dim = head_dim * config["num_attention_heads"]
        channels = config["in_channels"]
        self.axes = tuple(config["axes_dims_rope"])
        self.time_text_embed = TimeGuidanceText(dim, config["pooled_projection_dim"])
        self.context_embedder = nn.Linear(config["joint_attention_dim"], dim)
        self.x_embedder = nn.Linear(channels, dim)
        self.transformer_blocks = nn.ModuleList(DoubleBlock(dim, head_dim) for _ in range(config["num_layers"]))
        self.single_transformer_blocks = nn.ModuleList(
            SingleBlock(dim, head_dim) for _ in range(config["num_single_layers"]))
        self.norm_out = Modulation(dim, 2)
        self.proj_out = nn.Linear(dim, channels)
        self._tables = {}

    def block_matrices(self):
        """Names of the matrices that Muon updates."""
        return {name for name, p in self.named_parameters()
                if p.ndim == 2 and "transformer_blocks" in name and ".norm" not in name}

    def initialise(self):
        """Xavier matrices; modulation and output start at zero."""
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.xavier_uniform_(p)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        for name, p in self.named_parameters():
            if ".norm" in name and ".linear." in name or name.startswith(("norm_out", "proj_out")):
                nn.init.zeros_(p)
            elif name.startswith("time_text_embed") and p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, latents, text, pooled, t, guidance):
        """Velocity for packed latents [batch, tokens, channels]; square images."""
        side = math.isqrt(latents.shape[1])
        key = (side, text.shape[1], latents.device)
        if key not in self._tables:
            positions = torch.cat((torch.zeros(text.shape[1], 3), grid_positions(1, side, side)))
            self._tables[key] = tuple(x.to(latents.device) for x in rotary_table(positions, self.axes))
        cos, sin = self._tables[key]
        # Time and guidance (up to 5,000) lose their digits in bf16.
        with torch.autocast(latents.device.type, enabled=False):
            vector = self.time_text_embed(t.float(), guidance.float(), pooled.float())
        image, text = self.x_embedder(latents), self.context_embedder(text)
        for block in self.transformer_blocks:
            image, text = block(image, text, vector, cos, sin)
        x = torch.cat((text, image), 1)
        for block in self.single_transformer_blocks:
            x = block(x, vector, cos, sin)
        # The last modulation is (scale, shift), unlike those in the blocks.
        scale, shift = self.norm_out(vector)
        return self.proj_out(normalise(x[:, -latents.shape[1]:], shift, scale)).float()


# ------------------------------------------------------------ text encoders


class T5Attention(nn.Module):
    def __init__(self, config, with_bias):
        super().__init__()
        dim, self.heads = config["d_model"], config["num_heads"]
        inner = self.heads * config["d_kv"]
        self.q, self.k, self.v = (nn.Linear(dim, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, dim, bias=False)
        if with_bias:
            self.relative_attention_bias = nn.Embedding(config["relative_attention_num_buckets"], self.heads)

    def forward(self, x, bias):
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) + bias.to(q.dtype)  # T5 has no 1/sqrt(d)
        out = scores.float().softmax(-1).to(v.dtype) @ v
        return self.o(out.transpose(1, 2).flatten(2))


class T5Layer0(nn.Module):
    def __init__(self, config, first):
        super().__init__()
        self.SelfAttention = T5Attention(config, first)
        self.layer_norm = RMSNorm(config["d_model"])


class T5Gated(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim, inner = config["d_model"], config["d_ff"]
        self.wi_0, self.wi_1 = nn.Linear(dim, inner, bias=False), nn.Linear(dim, inner, bias=False)
        self.wo = nn.Linear(inner, dim, bias=False)

    def forward(self, x):
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class T5Layer1(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.DenseReluDense = T5Gated(config)
        self.layer_norm = RMSNorm(config["d_model"])


class T5Block(nn.Module):
    def __init__(self, config, first):
        super().__init__()
        self.layer = nn.ModuleList([T5Layer0(config, first), T5Layer1(config)])

    def forward(self, x, bias):
        attend, feed = self.layer
        x = x + attend.SelfAttention(attend.layer_norm(x), bias)
        return x + feed.DenseReluDense(feed.layer_norm(x))


def relative_buckets(length, buckets=32, max_distance=128):
    """T5's bidirectional buckets for every pair of positions."""
    position = torch.arange(length)
    relative = position[None] - position[:, None]
    half = buckets // 2
    out = (relative > 0).long() * half
    distance = relative.abs()
    exact = half // 2
    far = exact + (torch.log(distance.clamp(min=1).float() / exact)
                   / math.log(max_distance / exact) * (half - exact)).long()
    return out + torch.where(distance < exact, distance, far.clamp(max=half - 1))


class T5Encoder(nn.Module):
    """T5's encoder, or UMT5's: a bias table in every layer, padding is not looked at and comes out as zeros."""

    def __init__(self, config):
        super().__init__()
        self.shared = nn.Embedding(config["vocab_size"], config["d_model"])
        self.encoder = nn.Module()
        self.multilingual = config["model_type"] == "umt5"
        self.encoder.block = nn.ModuleList(
            T5Block(config, i == 0 or self.multilingual) for i in range(config["num_layers"]))
        self.encoder.final_layer_norm = RMSNorm(config["d_model"])
        self.register_buffer("buckets", relative_buckets(TEXT_LENGTH), persistent=False)

    def initialise(self):
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
        nn.init.normal_(self.shared.weight, std=1.0)
        for block in self.encoder.block:  # no 1/sqrt(d) in the attention: small queries
            nn.init.normal_(block.layer[0].SelfAttention.q.weight, std=(256 * 64) ** -0.5)

    def forward(self, ids):
        length = ids.shape[1]
        buckets = self.buckets[:length, :length]
        words = (ids != PADDING)[:, None, None]
        x, bias = self.shared(ids), None
        for block in self.encoder.block:
            table = getattr(block.layer[0].SelfAttention, "relative_attention_bias", None)
            if table is not None:
                bias = table(buckets).permute(2, 0, 1)[None]
            x = block(x, bias.masked_fill(~words, -1e9) if self.multilingual else bias)
        x = self.encoder.final_layer_norm(x)
        return x * words[:, 0, 0, :, None] if self.multilingual else x


class ClipAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.heads = heads

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for layer in (self.q_proj, self.k_proj, self.v_proj))
        # Written out: fused causal attention at 77 tokens is the first suspect
        # of a run whose weights turned into NaN.
        scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
        length = x.shape[1]
        ahead = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        out = scores.masked_fill(ahead, -1e9).softmax(-1).to(v.dtype) @ v
        return self.out_proj(out.transpose(1, 2).flatten(2))


class ClipMlp(nn.Module):
    def __init__(self, dim, inner):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, inner), nn.Linear(inner, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class ClipLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim = config["hidden_size"]
        self.self_attn = ClipAttention(dim, config["num_attention_heads"])
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = ClipMlp(dim, config["intermediate_size"])

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class ClipText(nn.Module):
    """Returns the pooled vector: the state at the first end-of-text token."""

    def __init__(self, config):
        super().__init__()
        dim = config["hidden_size"]
        self.embeddings = nn.Module()
        self.embeddings.token_embedding = nn.Embedding(config["vocab_size"], dim)
        self.embeddings.position_embedding = nn.Embedding(config["max_position_embeddings"], dim)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(ClipLayer(config) for _ in range(config["num_hidden_layers"]))
        self.final_layer_norm = nn.LayerNorm(dim)

    def initialise(self):
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02 if "embedding" in name else p.shape[1] ** -0.5)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, ids):
        x = self.embeddings.token_embedding(ids) + self.embeddings.position_embedding.weight[: ids.shape[1]]
        for layer in self.encoder.layers:
            x = layer(x)
        end = (ids == END_OF_TEXT).int().argmax(-1)
        return self.final_layer_norm(x)[torch.arange(len(ids), device=ids.device), end]


# -------------------------------------------------------------- autoencoder


class ResnetBlock(nn.Module):
    def __init__(self, in_dim, dim, groups):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, in_dim, eps=1e-6), nn.GroupNorm(groups, dim, eps=1e-6)
        self.conv1, self.conv2 = nn.Conv2d(in_dim, dim, 3, padding=1), nn.Conv2d(dim, dim, 3, padding=1)
        if in_dim != dim:
            self.conv_shortcut = nn.Conv2d(in_dim, dim, 1)

    def forward(self, x):
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Resample(nn.Module):
    def __init__(self, dim, down):
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(dim, dim, 3, stride=2 if down else 1, padding=0 if down else 1)

    def forward(self, x):
        if self.down:
            return self.conv(F.pad(x, (0, 1, 0, 1)))
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Module):
    def __init__(self, in_dim, dim, layers, groups, resample):
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(in_dim if i == 0 else dim, dim, groups) for i in range(layers))
        if resample == "down":
            self.downsamplers = nn.ModuleList([Resample(dim, True)])
        if resample == "up":
            self.upsamplers = nn.ModuleList([Resample(dim, False)])

    def forward(self, x):
        for block in self.resnets:
            x = block(x)
        for name in ("downsamplers", "upsamplers"):
            if hasattr(self, name):
                x = getattr(self, name)[0](x)
        return x


class Coder(nn.Module):
    """Encoder or decoder; both share their building blocks."""

    def __init__(self, config, encode):
        super().__init__()
        dims, groups, layers = config["block_out_channels"], config["norm_num_groups"], config["layers_per_block"]
        latent = config["latent_channels"]
        self.encode, last = encode, len(dims) - 1
        self.mid_block = nn.Module()
        self.mid_block.resnets = nn.ModuleList(ResnetBlock(dims[-1], dims[-1], groups) for _ in range(2))
        if encode:
            self.conv_in = nn.Conv2d(3, dims[0], 3, padding=1)
            self.down_blocks = nn.ModuleList(
                Stage(dims[max(i - 1, 0)], d, layers, groups, "down" if i < last else "") for i, d in enumerate(dims))
            self.conv_norm_out = nn.GroupNorm(groups, dims[-1], eps=1e-6)
            self.conv_out = nn.Conv2d(dims[-1], 2 * latent, 3, padding=1)
        else:
            dims = dims[::-1]
            self.conv_in = nn.Conv2d(latent, dims[0], 3, padding=1)
            self.up_blocks = nn.ModuleList(
                Stage(dims[max(i - 1, 0)], d, layers + 1, groups, "up" if i < last else "") for i, d in enumerate(dims))
            self.conv_norm_out = nn.GroupNorm(groups, dims[-1], eps=1e-6)
            self.conv_out = nn.Conv2d(dims[-1], 3, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        if not self.encode:
            for block in self.mid_block.resnets:
                x = block(x)
        for stage in self.down_blocks if self.encode else self.up_blocks:
            x = stage(x)
        if self.encode:
            for block in self.mid_block.resnets:
                x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Autoencoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.encoder, self.decoder = Coder(config, True), Coder(config, False)
        self.latent_channels = config["latent_channels"]
        self.scale, self.shift = config["scaling_factor"], config["shift_factor"]

    def encode(self, pixels):
        """Pixels in [-1, 1] to packed, normalised latents (the mean)."""
        z = self.encoder(pixels)[:, : self.latent_channels].float()
        return pack((z - self.shift) * self.scale)

    def decode(self, latents):
        """Packed, normalised latents to pixels in [-1, 1]."""
        return self.decoder(unpack(latents) / self.scale + self.shift).float()


def pack(z):
    """[batch, c, h, w] to [batch, h/2 * w/2, 4c]: 2x2 patches, channel-major."""
    b, c, h, w = z.shape
    return z.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, c * 4)


def unpack(x):
    b, n, c = x.shape
    side = math.isqrt(n)
    return x.view(b, side, side, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c // 4, 2 * side, 2 * side)

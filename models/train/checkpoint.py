"""Safetensors in and out, folders in the diffusers layout, 8-bit rows."""

import json
import os
import struct

import numpy as np
import torch

NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int8: "I8", torch.int32: "I32"}
TYPES = {name: dtype for dtype, name in NAMES.items()}
# One weight file per 15 MiB: small enough for any transport.
SHARD_BYTES = 15 * 2**20
QUANTIZATION = {"quant_method": "tamias-int8-rows"}


def save_tensors(tensors, path, metadata=None):
    header, blobs, offset = {"__metadata__": metadata or {"format": "pt"}}, [], 0
    for name in sorted(tensors, key=lambda n: (-tensors[n].element_size(), n)):
        t = tensors[name].detach().cpu().contiguous()
        raw = t.view(-1).view(torch.int16).numpy() if t.dtype == torch.bfloat16 else t.numpy()
        blob = raw.tobytes()
        header[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def load_tensors(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        dtype = TYPES[entry["dtype"]]
        raw = bytearray(data[start:end])
        if dtype == torch.bfloat16:
            t = torch.from_numpy(np.frombuffer(raw, np.int16).copy()).view(torch.bfloat16)
        else:
            t = torch.frombuffer(raw, dtype=dtype)
        out[name] = t.view(entry["shape"])
    return out


def load_metadata(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        return json.loads(file.read(size)).get("__metadata__", {})


def load_component(folder):
    """Config and float32 state dict of one component; 8-bit rows are expanded."""
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            tensors.update(load_tensors(os.path.join(folder, name)))
    return config, dequantise(tensors)


def quantise(tensors):
    """int8 rows with a float32 scale each; vectors, gains and tables stay bf16."""
    out = {}
    for name, t in tensors.items():
        if t.ndim < 2 or not name.endswith(".weight"):
            out[name] = t.bfloat16()
            continue
        rows = t.float().reshape(t.shape[0], -1)
        scale = (rows.abs().amax(1) / 127).clamp(min=1e-12)
        out[name] = (rows / scale[:, None]).round().clamp(-127, 127).to(torch.int8).view(t.shape)
        out[name + "_scale"] = scale
    return out


def dequantise(tensors):
    out = {}
    for name, t in tensors.items():
        if name.endswith(".weight_scale"):
            continue
        if t.dtype == torch.int8:
            scale = tensors[name + "_scale"].view(-1, *[1] * (t.ndim - 1))
            out[name] = t.float() * scale
        else:
            out[name] = t.float()
    return out


def save_component(folder, file, config, tensors):
    """Write config.json and one or several shards with their index."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config, out, indent=2)
        out.write("\n")
    # A weight and its scale stay in one shard.
    shards, sizes = [{}], [0]
    for name in sorted(tensors):
        if name.endswith(".weight_scale"):
            continue
        group = [n for n in (name, name + "_scale") if n in tensors]
        size = sum(tensors[n].numel() * tensors[n].element_size() for n in group)
        if sizes[-1] + size > SHARD_BYTES:
            shards.append({})
            sizes.append(0)
        shards[-1].update({n: tensors[n] for n in group})
        sizes[-1] += size
    if len(shards) == 1:
        save_tensors(shards[0], os.path.join(folder, file))
        return
    stem = file[: -len(".safetensors")]
    index = {"metadata": {"total_size": sum(sizes)}, "weight_map": {}}
    for i, shard in enumerate(shards):
        name = f"{stem}-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        save_tensors(shard, os.path.join(folder, name))
        index["weight_map"].update({n: name for n in sorted(shard)})
    with open(os.path.join(folder, file + ".index.json"), "w") as out:
        json.dump(index, out, indent=1)
        out.write("\n")

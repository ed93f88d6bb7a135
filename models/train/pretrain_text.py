"""Teach both text encoders to recover the scene from its caption.

    python3 pretrain_text.py --data FOLDER --tokenizer FILE --out FILE --seconds 45

Object, tint, place and background words are then told apart from the first
step of the transformer's training, instead of after hundreds of thousands
of pictures. Small heads (thrown away afterwards) read the scene from the T5
tokens and from CLIP's pooled vector; each object slot also redraws a
16x16 thumbnail of its sprite, so that things that look alike are near.
"""

import argparse
import math
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import configs
from networks import CLIP_LENGTH, ClipText, T5Encoder
from render import load_sprites, tinted
from scenes import COLOUR_NAMES, make_many

SLOTS = ("item0", "item1", "item2", "scene")
IGNORE = -100


class SceneHeads(nn.Module):
    """Questions about the scene, answered from one vector a slot."""

    def __init__(self, objects, dim=256):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(SLOTS), dim) * 0.02)
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.pooled = nn.Linear(dim, len(SLOTS) * dim)
        self.object, self.tint, self.thumbnail = nn.Linear(dim, objects), nn.Linear(dim, 15), nn.Linear(dim, 1024)
        colours = len(COLOUR_NAMES)
        self.scene = nn.ModuleDict({"count": nn.Linear(dim, 3), "relation": nn.Linear(dim, 6),
                                    "size": nn.Linear(dim, 4), "kind": nn.Linear(dim, 5),
                                    "first": nn.Linear(dim, colours), "second": nn.Linear(dim, colours)})

    def slots_from_tokens(self, tokens):
        scores = self.queries @ self.key(tokens).transpose(1, 2) / math.sqrt(tokens.shape[-1])
        return scores.float().softmax(-1).to(tokens.dtype) @ self.value(tokens)

    def slots_from_pooled(self, pooled):
        return self.pooled(pooled).unflatten(-1, (len(SLOTS), -1))

    def loss(self, slots, target):
        slots = slots.float()
        total = F.cross_entropy(self.object(slots[:, :3]).flatten(0, 1), target["items"].flatten(), ignore_index=IGNORE)
        total = total + F.cross_entropy(self.tint(slots[:, :3]).flatten(0, 1), target["tints"].flatten(),
                                        ignore_index=IGNORE)
        seen = (target["items"] != IGNORE)[..., None].float()
        drawn = self.thumbnail(slots[:, :3]).sigmoid()
        total = total + 5 * ((drawn - target["thumbnails"]) ** 2 * seen).sum() / (1024 * seen.sum())
        for name, head in self.scene.items():
            total = total + F.cross_entropy(head(slots[:, 3]), target[name], ignore_index=IGNORE)
        right = self.object(slots[:, :3]).argmax(-1) == target["items"]
        return total, right.sum() / (target["items"] != IGNORE).sum()


# Captions with the same layout share a class.
RELATION_CLASS = torch.tensor([0, 0, 1, 1, 0, 0, 2, 2, 3, 4, 5])


def targets(scene, thumbnails):
    """What the heads must say for a batch of scenes."""
    count, device = scene["count"], scene["count"].device
    present = torch.arange(3, device=device)[None] < count[:, None]
    named = scene["named"].bool()
    kind, first, second = scene["background"].unbind(-1)
    thumbs = tinted(thumbnails[scene["items"].flatten()], scene["tints"].flatten())
    blank = torch.full_like(count, IGNORE)
    return {
        "items": scene["items"].masked_fill(~present, IGNORE),
        "tints": (scene["tints"] + 1).masked_fill(~present, IGNORE),
        "thumbnails": thumbs.flatten(1).view(len(count), 3, 1024),
        "count": count - 1,
        "relation": torch.where(count > 1, RELATION_CLASS.to(device)[scene["relation"]], blank),
        "size": scene["size"] + 1,
        "kind": torch.where(named, kind, torch.full_like(kind, 4)),
        "first": torch.where(named, first, blank),
        "second": torch.where(named, second, blank),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--tokenizer", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--captions", type=int, default=300000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=10)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arrays, ids = make_many(f"{args.data}/sprites.json", args.tokenizer, args.captions, 5, (0.5, 0.38, 0.12),
                            args.workers)
    scenes = {key: torch.from_numpy(value).to(device) for key, value in arrays.items()}
    ids = torch.from_numpy(ids).to(device)
    thumbnails = F.avg_pool2d(load_sprites(args.data, device).float() / 255, 16)
    torch.manual_seed(0)
    t5, clip, heads = T5Encoder(configs.T5), ClipText(configs.CLIP), SceneHeads(len(thumbnails))
    t5.initialise()
    clip.initialise()
    parameters = []
    for module in (t5, clip, heads):
        module.to(device)
        parameters += list(module.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    began, step = time.time(), 0
    while True:
        progress = (time.time() - began) / args.seconds
        if progress >= 1:
            break
        rate = 1e-3 * min(1, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        rows = torch.randint(len(ids), (args.batch,), device=device)
        target = targets({key: value[rows] for key, value in scenes.items()}, thumbnails)
        text = ids[rows].long()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            token_slots = heads.slots_from_tokens(t5(text))
            pooled_slots = heads.slots_from_pooled(clip(text[:, :CLIP_LENGTH]))
        with torch.autocast(device.type, enabled=False):
            loss_t5, right_t5 = heads.loss(token_slots, target)
            loss_clip, right_clip = heads.loss(pooled_slots, target)
        (loss_t5 + loss_clip).backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if torch.isfinite(norm):
            optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        if step % 50 == 0 or step == 1:
            print(f"text step {step} {progress:.2f}: t5 loss {loss_t5.item():.3f} objects {right_t5.item():.3f}, "
                  f"clip loss {loss_clip.item():.3f} objects {right_clip.item():.3f}", flush=True)
    torch.save({"t5": t5.state_dict(), "clip": clip.state_dict()}, args.out)
    print(f"text encoders saved after {step} steps", flush=True)


if __name__ == "__main__":
    main()

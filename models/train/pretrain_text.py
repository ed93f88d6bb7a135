"""Teach the text encoders to recover the scene from its caption.

    python3 pretrain_text.py --data FOLDER --tokenizer FILE --out FILE --seconds 45
        [--video [--start acorn-image/text_encoder_2]]

Object, tint, place and background words are then told apart from the first
step of the transformer's training, instead of after hundreds of thousands
of pictures. Small heads (thrown away afterwards) read the scene from the T5
tokens and from CLIP's pooled vector; each object slot also redraws a
16x16 thumbnail of its sprite, so that things that look alike are near.
`--video` trains the one encoder of acorn-video, which can start from
acorn-image's, on captions of clips.
"""

import argparse
import math
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import configs
from checkpoint import load_component
from clips import MOTIONS, Animations, Clips, on_device
from networks import CLIP_LENGTH, ClipText, T5Encoder
from render import load_sprites, tinted
from scenes import COLOUR_NAMES, Scenes, make_many

SLOTS = ("item0", "item1", "item2", "scene")
IGNORE = -100


# What the scene slot must know, and how many answers each question has.
COLOURS = len(COLOUR_NAMES)
PICTURE_QUESTIONS = {"count": 3, "relation": 6, "size": 4, "kind": 5, "first": COLOURS, "second": COLOURS}
CLIP_QUESTIONS = {"motion": len(MOTIONS), "size": 4, "kind": 5, "first": COLOURS, "second": COLOURS}


class SceneHeads(nn.Module):
    """Questions about the scene, answered from one vector a slot."""

    def __init__(self, objects, questions, dim=256):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(SLOTS), dim) * 0.02)
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.pooled = nn.Linear(dim, len(SLOTS) * dim)
        self.object, self.tint, self.thumbnail = nn.Linear(dim, objects), nn.Linear(dim, 15), nn.Linear(dim, 1024)
        self.scene = nn.ModuleDict({name: nn.Linear(dim, answers) for name, answers in questions.items()})

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
    answers = {
        "items": scene["items"].masked_fill(~present, IGNORE),
        "tints": (scene["tints"] + 1).masked_fill(~present, IGNORE),
        "thumbnails": thumbs.flatten(1).view(len(count), 3, 1024),
        "count": count - 1,
        "size": scene["size"] + 1,
        "kind": torch.where(named, kind, torch.full_like(kind, 4)),
        "first": torch.where(named, first, blank),
        "second": torch.where(named, second, blank),
    }
    if "relation" in scene:
        answers["relation"] = torch.where(count > 1, RELATION_CLASS.to(device)[scene["relation"]], blank)
    if "motion" in scene:
        answers["motion"] = scene["motion"]
    return answers


def encoders_for(args):
    """{name: encoder}; a T5 that starts from trained weights keeps its relative bias in every layer."""
    if not args.video:
        encoders = {"t5": T5Encoder(configs.T5), "clip": ClipText(configs.CLIP)}
    else:
        encoders = {"t5": T5Encoder(configs.UMT5)}
    for encoder in encoders.values():
        encoder.initialise()
    if args.start:
        _, tensors = load_component(args.start)
        name = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
        for i in range(1, configs.UMT5["num_layers"]):
            tensors[name.format(i)] = tensors[name.format(0)]
        encoders["t5"].load_state_dict(tensors)
    return encoders


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--tokenizer", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--captions", type=int, default=300000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--video", action="store_true")
    parser.add_argument("--start", help="component folder of a trained T5 encoder")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    if args.video:
        world, counts, questions = Clips(f"{args.data}/animations.json"), None, CLIP_QUESTIONS
    else:
        world, counts, questions = Scenes(f"{args.data}/sprites.json"), (0.5, 0.38, 0.12), PICTURE_QUESTIONS
    arrays, ids = make_many(world, args.tokenizer, args.captions, 5, counts, args.workers)
    scenes, ids = on_device(arrays, device), torch.from_numpy(ids).to(device)
    if args.video:
        animations = Animations(args.data, device)
        thumbnails = F.avg_pool2d(animations.frames[animations.first].float() / 255, 8)
    else:
        thumbnails = F.avg_pool2d(load_sprites(args.data, device).float() / 255, 16)
    encoders, heads = encoders_for(args), SceneHeads(len(thumbnails), questions)
    parameters = []
    for module in (*encoders.values(), heads):
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
            slots = {"t5": heads.slots_from_tokens(encoders["t5"](text))}
            if "clip" in encoders:
                slots["clip"] = heads.slots_from_pooled(encoders["clip"](text[:, :CLIP_LENGTH]))
        with torch.autocast(device.type, enabled=False):
            answers = {name: heads.loss(value, target) for name, value in slots.items()}
        sum(loss for loss, _ in answers.values()).backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if torch.isfinite(norm):
            optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        if step % 50 == 0 or step == 1:
            words = ", ".join(f"{name} loss {loss.item():.3f} objects {right.item():.3f}"
                              for name, (loss, right) in answers.items())
            print(f"text step {step} {progress:.2f}: {words}", flush=True)
    torch.save({name: encoder.state_dict() for name, encoder in encoders.items()}, args.out)
    print(f"text encoders saved after {step} steps", flush=True)


if __name__ == "__main__":
    main()

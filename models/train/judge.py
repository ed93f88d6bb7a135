"""An independent judge: a small classifier trained on rendered pictures.

    python3 judge.py --data FOLDER --vae FOLDER --tokenizer FILE --out FILE --seconds 60 [--video]

`--video` trains it on single frames of clips (with crowds of up to three),
without `--vae`. It never sees the generator. Its last layer scores every cell of a 16x16
grid, so it also says where it sees each object.
"""

import argparse
import math
import random
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from bank import load_vae
from clips import FRAMES, Animations, Clips, Crowds, on_device
from render import load_sprites, render
from scenes import Scenes, as_arrays, make_many

GRID = 16


class Block(nn.Module):
    def __init__(self, in_dim, dim, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, dim, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(dim)
        self.skip = nn.Conv2d(in_dim, dim, 1, stride, bias=False)

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.skip(x))


class Judge(nn.Module):
    def __init__(self, objects, width=48):
        super().__init__()
        w = width
        self.body = nn.Sequential(nn.Conv2d(3, w, 5, 2, 2), nn.BatchNorm2d(w), nn.ReLU(),
                                  Block(w, w, 2), Block(w, 2 * w, 2), Block(2 * w, 2 * w, 1),
                                  Block(2 * w, 4 * w, 2), Block(4 * w, 4 * w, 1), Block(4 * w, 6 * w, 1))
        # The last cells see 128 pixels and more; global context helps large objects.
        self.wide = nn.Sequential(nn.Conv2d(6 * w, 6 * w, 5, 1, 4, dilation=2, bias=False), nn.BatchNorm2d(6 * w),
                                  nn.ReLU())
        self.head = nn.Conv2d(6 * w, objects, 1)

    def forward(self, pixels):
        """(scores [batch, objects], map [batch, objects, 16, 16]) for pixels in [-1, 1]."""
        if pixels.shape[-1] != 256:
            pixels = F.interpolate(pixels, size=(256, 256), mode="bilinear", antialias=True, align_corners=False)
        x = self.body(pixels)
        cells = self.head(x + self.wide(x)).float()
        # A smooth maximum over the cells.
        scores = torch.logsumexp(cells.flatten(2) * 2, -1) / 2 - math.log(GRID * GRID) / 2
        return scores, cells


def centre(cells):
    """Where a map [n, 16, 16] is bright: (x, y) in 0..1."""
    weight = (cells.flatten(1) * 2).softmax(-1).view_as(cells)
    place = (torch.arange(GRID, device=cells.device) + 0.5) / GRID
    return (weight.sum(1) * place).sum(-1), (weight.sum(2) * place).sum(-1)


def disturb(pixels):
    """Blur, noise and small shifts in brightness: robust, not picky."""
    if random.random() < 0.3:
        small = F.avg_pool2d(pixels, 2)
        pixels = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    pixels = pixels + torch.randn_like(pixels) * 0.06 * random.random()
    return pixels * (0.9 + 0.2 * torch.rand(len(pixels), 1, 1, 1, device=pixels.device))


def check(judge, sprites, scenes_json, vae, device, count=256):
    """Accuracy on fresh rendered pictures, as such and through the autoencoder."""
    scenes, rng, report = Scenes(scenes_json), random.Random(77), {}
    judge.eval()
    for name, kind in (("single", (1, 0, 0)), ("pair", (0, 1, 0))):
        drawn = [scenes.draw(rng, kind, held_out=True) for _ in range(count)]
        target = [s["items"][: s["count"]] for s in drawn]
        for through in (False, True):
            hits = 0
            for start in range(0, count, 32):
                arrays = {k: torch.from_numpy(v).to(device) for k, v in as_arrays(drawn[start:start + 32]).items()}
                pixels = render(sprites, arrays, 256)
                with torch.no_grad():
                    if through:
                        pixels = vae.decode(vae.encode(pixels)).clamp(-1, 1)
                    guess = judge(pixels)[0].topk(5, -1)[1].tolist()
                hits += sum(set(t) <= set(g) for t, g in zip(target[start:start + 32], guess))
            report[f"{name}{' through the autoencoder' if through else ''}"] = hits / count
    return report


@torch.no_grad()
def check_frames(judge, animations, animations_json, device, count):
    """Share of held-out clips whose object is among the first five guesses in most of nine frames."""
    judge.eval()
    clips, rng, hits = Clips(animations_json), random.Random(77), 0
    drawn = [clips.draw(rng, held_out=True) for _ in range(count)]
    for start in range(0, count, 16):
        part = drawn[start:start + 16]
        times = torch.arange(0, FRAMES, 3, device=device).expand(len(part), -1)
        frames = animations.draw(on_device(as_arrays(part), device), times)
        five = judge(frames.transpose(1, 2).flatten(0, 1))[0].topk(5, -1)[1].unflatten(0, (len(part), -1))
        wanted = torch.tensor([s["items"][0] for s in part], device=device)
        hits += ((five == wanted[:, None, None]).any(-1).float().mean(1) > 0.5).sum().item()
    return {"clips": hits / count}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--vae", help="of the picture model")
    parser.add_argument("--video", action="store_true")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--scenes", type=int, default=100000)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--tokenizer", required=True)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if args.video:
        world, counts = Crowds(f"{args.data}/animations.json"), (0.6, 0.3, 0.1)
    else:
        world, counts = Scenes(f"{args.data}/sprites.json"), (0.45, 0.45, 0.10)
    arrays, _ = make_many(world, args.tokenizer, args.scenes, 900, counts, args.workers)
    scenes, objects = on_device(arrays, device), len(world.items)
    animations = Animations(args.data, device) if args.video else None
    sprites = animations.frames if args.video else load_sprites(args.data, device)
    torch.manual_seed(3)
    judge = Judge(objects).to(device)
    if device.type == "cuda":
        judge = judge.to(memory_format=torch.channels_last)
    parameters = list(judge.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.02)
    began, step = time.time(), 0
    while True:
        progress = (time.time() - began) / args.seconds
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        rows = torch.randint(args.scenes, (args.batch,), device=device)
        part = {k: v[rows] for k, v in scenes.items()}
        if args.video:
            part = animations.pictures(part, torch.randint(FRAMES, (args.batch, 1), device=device))
            # Objects that left the picture are not there.
            part["places"][..., :2] = part["places"][..., :2].clamp(0.1, 0.9)
        pixels = disturb(render(sprites, part, 256, supersample=1 if args.video else 2))
        shown = part["objects"] if args.video else part["items"]
        present = (torch.arange(3, device=device)[None] < part["count"][:, None]).float()
        target = torch.zeros(args.batch, objects, device=device).scatter_add_(1, shown, present)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            scores, cells = judge(pixels)
        # Softmax shared by the objects present, on the whole and where each stands.
        loss = -(scores.log_softmax(-1) * target).sum(-1).mean()
        column = (part["places"][..., 0] * GRID).long().clamp(0, GRID - 1)
        row = (part["places"][..., 1] * GRID).long().clamp(0, GRID - 1)
        picture = torch.arange(args.batch, device=device)[:, None].expand(-1, 3)
        at_place = cells[picture, :, row, column].log_softmax(-1).gather(-1, shown[..., None])[..., 0]
        loss = loss - (at_place * present).sum(-1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        if step % 50 == 0 or step == 1:
            print(f"judge step {step} {progress:.2f} loss {loss.item():.3f}", flush=True)
    count = 256 if device.type == "cuda" else 32
    if args.video:
        report = check_frames(judge, animations, f"{args.data}/animations.json", device, count)
    else:
        report = check(judge, sprites, f"{args.data}/sprites.json", load_vae(args.vae, device), device, count)
    print("judge on rendered pictures:", report, flush=True)
    torch.save({"state": judge.state_dict(), "objects": objects, "report": report}, args.out)


if __name__ == "__main__":
    main()

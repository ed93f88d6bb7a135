"""Measure a checkpoint folder on held-out prompts.

    python3 evaluate.py --model FOLDER --judge FILE --data FOLDER --out FILE.json
        --size 256 [--guidance 3 | --sweep]

Prompts are drawn from combinations that training never sees: 200 on plain
backgrounds, 300 with one object, 150 pairs.
"""

import argparse
import json
import random
import time

import torch

import sampling
from check_networks import load_models
from judge import Judge, centre
from render import palette
from scenes import COLOUR_NAMES, Scenes
from tokenizer import Tokenizer

COUNTS = {"background": 200, "single": 300, "pair": 150}


def held_out_prompts(scenes, seed, counts):
    rng = random.Random(seed)
    sets = {"background": [], "single": [], "pair": []}
    while len(sets["background"]) < counts["background"]:
        scene = scenes.draw(rng, (0.7, 0.3, 0), held_out=True, full=True)
        if scene["background"][0] == 0:
            sets["background"].append(scene)
    sets["single"] = [scenes.draw(rng, (1, 0, 0), held_out=True, full=True) for _ in range(counts["single"])]
    sets["pair"] = [scenes.draw(rng, (0, 1, 0), held_out=True, full=True) for _ in range(counts["pair"])]
    return sets


def border_colour(pictures, width):
    """Mean colour of the outermost pixels, [n, 3] in 0..1."""
    inner = torch.zeros_like(pictures[:, :1], dtype=torch.bool)
    inner[:, :, width:-width, width:-width] = True
    keep = (~inner).float()
    return (pictures * keep).sum((2, 3)) / keep.sum((2, 3))


def related(scene, first, second):
    """Do two centres (x, y) stand as the scene asks? None where it does not ask."""
    kind = scene["relation"]
    if kind in (0, 1, 4, 5):  # "and", "next to": side by side, first on the left
        return first[0] < second[0] if kind < 2 else abs(first[0] - second[0]) > abs(first[1] - second[1])
    if kind in (2, 3):
        return first[0] > second[0]
    if kind in (6, 7):
        return first[1] < second[1]
    if kind == 8:
        return first[1] > second[1]
    return None


class Evaluation:
    def __init__(self, args):
        self.args = args
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cuda":
            torch.backends.cuda.enable_cudnn_sdp(False)
        self.models = load_models(args.model, self.device)
        stored = torch.load(args.judge, map_location="cpu")
        self.judge = Judge(stored["objects"])
        self.judge.load_state_dict(stored["state"])
        self.judge.to(self.device).eval()
        self.tokenizer = Tokenizer(f"{args.model}/tokenizer_2/tokenizer.json")

    def draw(self, prompts, size, guidance, first_seed=0):
        ids = torch.from_numpy(self.tokenizer.batch(prompts, 128))
        seeds = [first_seed + i for i in range(len(prompts))]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            latents = sampling.sample(self.models, ids, size, seeds, guidance, self.args.steps,
                                      batch=100 if size <= 256 else 25)
            return sampling.decode(self.models["vae"], latents.float(), 32 if size <= 256 else 8)

    @torch.no_grad()
    def look(self, pictures):
        """Judge's scores and centres of every object, picture by picture."""
        scores, maps = [], []
        for part in pictures.split(32):
            s, cells = self.judge(part.to(self.device) * 2 - 1)
            scores.append(s.cpu())
            maps.append(cells.cpu())
        return torch.cat(scores), torch.cat(maps)

    def measure(self, sets, size, guidance):
        result = {"size": size, "guidance": guidance, "steps": self.args.steps}
        seed = 1000
        for name, drawn in sets.items():
            if not drawn:
                continue
            pictures = self.draw([s["caption"] for s in drawn], size, guidance, seed)
            seed += len(drawn)
            if name == "background":
                border = border_colour(pictures, size // 32)
                nearest = (border[:, None] - palette("cpu")[None]).norm(dim=-1)
                wanted = torch.tensor([s["background"][1] for s in drawn])
                result["background"] = (nearest.argmin(-1) == wanted).float().mean().item()
                off = nearest[torch.arange(len(wanted)), wanted]
                result["background distance (0-1 RGB, median)"] = off.median().item()
                wrong = (nearest.argmin(-1) != wanted).nonzero().flatten().tolist()
                result["background misses"] = [
                    [drawn[i]["caption"], COLOUR_NAMES[nearest[i].argmin()]] for i in wrong[:12]]
                continue
            scores, maps = self.look(pictures)
            five = scores.topk(5, -1)[1].tolist()
            hits = [set(s["items"][: s["count"]]) <= set(g) for s, g in zip(drawn, five)]
            result[name] = sum(hits) / len(hits)
            if name == "single":
                result["single, first guess"] = sum(
                    s["items"][0] == g[0] for s, g in zip(drawn, five)) / len(drawn)
                result["single misses"] = [s["caption"] for s, hit in zip(drawn, hits) if not hit][:25]
                continue
            result["pair, either"] = sum(
                bool(set(s["items"][:2]) & set(g)) for s, g in zip(drawn, five)) / len(drawn)
            result["pair, both as first two"] = sum(
                set(s["items"][:2]) == set(g[:2]) for s, g in zip(drawn, five)) / len(drawn)
            right = {True: [0, 0], False: [0, 0]}
            for i, scene in enumerate(drawn):
                a, b = ([float(c) for c in centre(maps[i, k][None])] for k in scene["items"][:2])
                answer = related(scene, a, b)
                if answer is not None:
                    right[hits[i]][0] += bool(answer)
                    right[hits[i]][1] += 1
            result["relation, where both are seen"] = right[True][0] / max(1, right[True][1])
            result["relation, all pairs"] = (right[True][0] + right[False][0]) / max(1, right[True][1] + right[False][1])
            result["pairs with a relation to check"] = right[True][1]
            result["pair misses"] = [s["caption"] for s, hit in zip(drawn, hits) if not hit][:25]
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--judge", "--data", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--sweep", action="store_true", help="try several scales on other prompts")
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the prompts")
    args = parser.parse_args()
    began = time.time()
    evaluation = Evaluation(args)
    scenes = Scenes(f"{args.data}/sprites.json")
    report = {}
    if args.sweep:
        sets = held_out_prompts(scenes, 4321, {"background": 0, "single": 100, "pair": 60})
        report["sweep (other prompts)"] = [
            {k: v for k, v in evaluation.measure(sets, args.size, w).items() if "misses" not in k}
            for w in (1.0, 2.0, 3.0, 4.0)]
    sets = held_out_prompts(scenes, 1234, {k: max(2, int(v * args.share)) for k, v in COUNTS.items()})
    report.update(evaluation.measure(sets, args.size, args.guidance))
    report["judge on rendered pictures"] = torch.load(args.judge, map_location="cpu")["report"]
    with open(args.out, "w") as file:
        json.dump(report, file, indent=1)
    print(json.dumps({k: v for k, v in report.items() if "misses" not in k}, indent=1))
    print(f"{time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()

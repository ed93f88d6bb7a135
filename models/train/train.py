"""Train transformer and text encoders to a deadline.

    torchrun --nproc_per_node 2 train.py --deadline-file FILE --out FOLDER ...

The deadline (seconds since the epoch, in a file that may be edited while the
program runs) fixes the whole plan: 128x128 first, then 256x256, some 512x512
in the second half, guidance distilled into its embedding in the last part,
while the learning rate falls to zero. One process a GPU, gradients summed
over all of them.
"""

import argparse
import copy
import math
import os
import sys
import time

import torch
import torch.distributed as dist

import bank as bank_module
import configs
from checkpoint import load_component
from networks import CLIP_LENGTH, ClipText, FluxTransformer, SingleBlock, DoubleBlock, T5Encoder
from optimiser import Average, Optimiser
from sampling import shift_factor, time_shift
from tokenizer import Tokenizer

# Training noise is a little later than sampling's shift at 256x256.
TRAIN_SHIFT = {128: 1.65, 256: 1.878, 512: shift_factor(4096)}
DROPPED_CAPTIONS = 0.1
MODULES = ("transformer", "t5", "clip")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--vae", "--tokenizer", "--out", "--deadline-file"):
        parser.add_argument(name, required=True)
    parser.add_argument("--text", help="text encoders from pretrain_text.py")
    parser.add_argument("--bank", help="latents from bank.py; {rank} is replaced")
    parser.add_argument("--resume", help="state.pt or averaged.pt of an earlier run, or a model folder")
    parser.add_argument("--bank-counts", type=int, nargs=3, default=(2048, 2048, 128))
    parser.add_argument("--batches", type=int, nargs=3, default=(512, 256, 40), help="a GPU, at 128, 256, 512")
    parser.add_argument("--first-256", type=float, default=0.20, help="progress at which 256x256 begins")
    parser.add_argument("--first-512", type=float, default=0.45)
    parser.add_argument("--guided", type=float, default=0.70)
    parser.add_argument("--hold", type=float, default=0.55, help="progress at which the rate begins to fall")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--attention", choices=("flash", "cudnn"), default="flash")
    parser.add_argument("--max-steps", type=int, help="walk through all phases in this many steps")
    return parser.parse_args()


class Run:
    def __init__(self, args):
        self.args = args
        self.ranks = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        cuda = torch.cuda.is_available()
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if cuda else "cpu")
        if cuda:
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
            # Fused cuDNN attention is a suspect of an earlier run's NaN; use it
            # only where it was compared with the flash kernel first.
            torch.backends.cuda.enable_cudnn_sdp(args.attention == "cudnn")
            if args.attention == "cudnn":
                torch.backends.cuda.enable_flash_sdp(False)
        if self.ranks > 1:
            dist.init_process_group("nccl" if cuda else "gloo")
        os.makedirs(args.out, exist_ok=True)
        self.began = time.time()
        torch.manual_seed(1000 + self.rank)
        self.build()

    def log(self, *words):
        if self.rank == 0:
            print(f"[{time.time() - self.began:7.1f}]", *words, flush=True)

    def build(self):
        args, device = self.args, self.device
        if args.bank:
            lazily = {"mmap": True} if device.type == "cuda" else {}
            stored = torch.load(args.bank.format(rank=self.rank), map_location="cpu", **lazily)
            self.banks = {size: (z.to(device), ids.to(device)) for size, (z, ids) in stored.items()}
        else:
            sizes = dict(zip((128, 256, 512), args.bank_counts))
            self.banks = bank_module.build(args.data, args.vae, args.tokenizer, sizes, 31 * (self.rank + 1), device,
                                           workers=1)
        self.log("banks", {size: len(z) for size, (z, _) in self.banks.items()})
        self.empty = torch.from_numpy(Tokenizer(args.tokenizer).batch([""], 128)).to(device)
        config = configs.TINY_TRANSFORMER if args.tiny else configs.TRANSFORMER
        self.models = {"transformer": FluxTransformer(config), "t5": T5Encoder(configs.T5), "clip": ClipText(configs.CLIP)}
        torch.manual_seed(0)
        for model in self.models.values():
            model.initialise()
        if args.text:
            text = torch.load(args.text, map_location="cpu")
            for name in ("t5", "clip"):
                self.models[name].load_state_dict(text[name])
        torch.manual_seed(1000 + self.rank)
        for model in self.models.values():
            model.to(device).train()
        self.teacher = {k: copy.deepcopy(m).eval().requires_grad_(False) for k, m in self.models.items()}
        self.optimiser = Optimiser(self.models["transformer"], [self.models["t5"], self.models["clip"]])
        self.average = Average(self.weights(self.models))
        self.steps, self.samples = 0, {128: 0, 256: 0, 512: 0}
        if args.resume:
            state = self.load_state(args.resume)
            # averaged.pt alone is enough; state.pt also keeps what the optimiser knew.
            for name, model in self.models.items():
                full = "models" in state
                model.load_state_dict(state["models" if full else "averaged"][name])
            stored = state.get("average") or [p.detach() for p in self.weights(self.models)]
            for value, source in zip(self.average.values, stored):
                value.copy_(source)
            self.average.steps = state["steps"]
            if "optimiser" in state:
                self.optimiser.load(state["optimiser"])
            self.samples = state["samples"]
            self.log("resumed after", state["steps"], "steps")
        if args.compile:
            torch._dynamo.config.recompile_limit = 64
            torch._dynamo.config.cache_size_limit = 64
            for block in (DoubleBlock, SingleBlock):
                block.forward = torch.compile(block.forward, dynamic=False)

    @staticmethod
    def load_state(path):
        """A .pt file of this program, or a model folder (8-bit rows are expanded)."""
        if not os.path.isdir(path):
            return torch.load(path, map_location="cpu")
        folders = {"transformer": "transformer", "t5": "text_encoder_2", "clip": "text_encoder"}
        averaged = {name: load_component(os.path.join(path, folder))[1] for name, folder in folders.items()}
        return {"averaged": averaged, "steps": 1000, "samples": {128: 0, 256: 0, 512: 0}}

    @staticmethod
    def weights(models):
        return [p for name in MODULES for p in models[name].parameters()]

    def sum_gradients(self, flat):
        dist.all_reduce(flat)
        flat /= self.ranks

    def share(self, values):
        """Rank 0's numbers on every rank."""
        t = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.ranks > 1:
            dist.broadcast(t, 0)
        return t.tolist()

    def deadline(self):
        with open(self.args.deadline_file) as file:
            return float(file.read())

    def progress(self, began):
        if self.args.max_steps:
            return self.steps / self.args.max_steps
        now = time.time()
        return (now - began) / max(1.0, self.deadline() - began)

    def size_of_step(self, progress):
        """Which resolution this step trains at."""
        if progress < self.args.first_256:
            return 128
        if progress >= self.args.first_512:
            every = 4 if progress >= self.args.guided else 8
            if self.steps % every == 0:
                return 512
        return 256

    def rate(self, progress):
        warm = min(1.0, (self.steps + 1) / 150)
        hold = self.args.hold
        fall = 1.0 if progress < hold else max(0.0, 1 - (progress - hold) / (1 - hold))
        return warm * (0.01 + 0.99 * fall)

    def encode(self, models, ids):
        return models["t5"](ids), models["clip"](ids[:, :CLIP_LENGTH])

    def guided_target(self, x, ids, t, w, v):
        """Move the target along the teacher's own guidance direction."""
        half = len(x)
        with torch.no_grad():
            text, pooled = self.encode(self.teacher, torch.cat((ids, self.empty.long())))
            text = torch.cat((text[:half], text[half:].expand(half, -1, -1)))
            pooled = torch.cat((pooled[:half], pooled[half:].expand(half, -1)))
            both = self.teacher["transformer"](torch.cat((x, x)), text, pooled, torch.cat((t, t)),
                                               torch.ones(2 * half, device=x.device))
        with_caption, without = both.chunk(2)
        return v + (w - 1).view(-1, 1, 1) * (with_caption - without)

    def step(self, size, guided, factor):
        batch = self.args.batches[(128, 256, 512).index(size)]
        latents, captions = self.banks[size]
        device = self.device
        rows = torch.randint(len(latents), (batch,), device=device)
        z, ids = latents[rows].float(), captions[rows].long()
        noise = torch.randn_like(z)
        t = time_shift(torch.sigmoid(torch.randn(batch, device=device)), TRAIN_SHIFT[size])
        x = (1 - t.view(-1, 1, 1)) * z + t.view(-1, 1, 1) * noise
        v = noise - z
        w = torch.ones(batch, device=device)
        half = batch // 2 if guided else 0
        dropped = torch.rand(batch, device=device) < DROPPED_CAPTIONS
        dropped[:half] = False
        ids = torch.where(dropped[:, None], self.empty.long(), ids)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            if half:
                w[:half] = 1 + 4 * torch.rand(half, device=device)
                v = torch.cat((self.guided_target(x[:half], ids[:half], t[:half], w[:half], v[:half]), v[half:]))
            text, pooled = self.encode(self.models, ids)
            out = self.models["transformer"](x, text, pooled, t, w)
        losses = (out - v).square().mean((1, 2))
        losses.mean().backward()
        norm = self.optimiser.step(factor, self.sum_gradients if self.ranks > 1 else None)
        self.average.update()
        self.steps += 1
        self.samples[size] += batch * self.ranks
        return losses[half:].mean().detach(), norm

    def save(self, name, full):
        """`full` keeps what resuming needs; otherwise only the averaged weights."""
        averaged, values = {}, iter(self.average.values)
        for module in MODULES:
            averaged[module] = {n: next(values).bfloat16().cpu() for n, _ in self.models[module].named_parameters()}
        state = {"averaged": averaged, "steps": self.steps, "samples": self.samples}
        if full:
            state["models"] = {n: m.state_dict() for n, m in self.models.items()}
            state["average"] = self.average.values
            state["optimiser"] = self.optimiser.state()
        path = f"{self.args.out}/{name}"
        torch.save(state, path + ".part")
        os.replace(path + ".part", path)

    def train(self):
        began, size_before = time.time(), None
        last_log = last_save = last_teacher = time.time()
        bad, count, half_done, teaching = 0, 0, False, False
        history = []
        progress = 0.0
        while True:
            if self.steps % 10 == 0 or self.args.max_steps:
                progress, = self.share([self.progress(began)])
            if progress >= 1:
                break
            guided = progress >= self.args.guided
            if guided and (not teaching or time.time() - last_teacher > 60):
                # Each rank has the same averages, so each may refresh on its own clock.
                self.average.copy_to(self.weights(self.teacher))
                teaching, last_teacher = True, time.time()
            size = self.size_of_step(progress)
            if size != size_before and size != 512 and size_before != 512:
                self.log(f"--- {size}x{size} at progress {progress:.3f}")
            size_before = size
            loss, norm = self.step(size, guided, self.rate(progress))
            count += self.args.batches[(128, 256, 512).index(size)] * self.ranks
            history.append((size, loss, norm))
            if len(history) >= 50 or self.steps in (1, 2, 3, 5, 10, 20):
                numbers = torch.stack([torch.stack((l, n.float())) for _, l, n in history]).tolist()
                bad += sum(not all(map(math.isfinite, pair)) for pair in numbers)
                by_size = {s: [p[0] for (k, _, _), p in zip(history, numbers) if k == s] for s in (128, 256, 512)}
                words = " ".join(f"{s}: {sum(v) / len(v):.4f}" for s, v in by_size.items() if v)
                memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0
                self.log(f"step {self.steps} progress {progress:.3f} {'guided ' if guided else ''}loss {words} "
                         f"norm {numbers[-1][1]:.3f} {count / (time.time() - last_log):.0f} pictures/s "
                         f"{memory:.0f} GiB{f' not finite: {bad}' if bad else ''}")
                if bad > 40:
                    self.log("too many steps that are not finite")
                    sys.exit(3)
                last_log, count, history = time.time(), 0, []
            if self.rank == 0:
                if progress >= 0.5 and not half_done:
                    half_done = True
                    self.save("half.pt", full=False)
                if time.time() - last_save > 200:
                    self.save("state.pt", full=True)
                    last_save = time.time()
        self.log(f"trained {self.steps} steps in {time.time() - began:.0f} s, pictures {self.samples}")
        if self.rank == 0:
            self.save("averaged.pt", full=False)
            self.save("state.pt", full=True)
            self.log("weights saved")
        if self.ranks > 1:
            dist.barrier()
            dist.destroy_process_group()


if __name__ == "__main__":
    Run(parse()).train()

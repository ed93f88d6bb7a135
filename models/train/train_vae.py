"""Train the video autoencoder to a deadline, pictures first, then clips.

    torchrun --nproc_per_node 2 train_vae.py --data FOLDER --out FOLDER --seconds N [--resume vae.pt] [--compile]

Clips are drawn once into a table of bytes, so that no step waits for
drawing. One process a GPU, gradients averaged over all of them. Prints the
PSNR over clips of withheld combinations that no step sees.
"""

import argparse
import contextlib
import math
import os
import random
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F

import configs
from clips import FRAMES, SIDE, Animations, Clips, Crowds, on_device
from optimiser import Optimiser
from scenes import as_arrays
from wan_vae import Pointwise, WanAutoencoder

TRAIN_FRAMES = 17
KL_WEIGHT = 2e-4


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--resume", help="vae.pt or vae-final.pt of an earlier run")
    parser.add_argument("--seconds", type=float, default=360, help="of training, after the clips are drawn")
    parser.add_argument("--pictures", type=float, default=0.22, help="share of the time for single pictures")
    parser.add_argument("--hold", type=float, default=0.5, help="progress at which the rate begins to fall")
    parser.add_argument("--batches", type=int, nargs=2, default=(64, 5), help="a GPU: pictures, clips")
    parser.add_argument("--clips", type=int, default=2000, help="drawn for each GPU")
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--max-steps", type=int, help="walk through both phases in this many steps")
    return parser.parse_args()


def reconstruction_loss(drawn, pixels):
    """L1 of values and of differences along rows, columns and time, and squared error; channels last."""
    error = drawn - pixels
    loss = error.abs().mean() + error.square().mean()
    for axis in (1, 2, 3):
        if error.shape[axis] > 1:
            loss = loss + 0.5 * error.diff(dim=axis).abs().mean()
    return loss


class VaeRun:
    def __init__(self, args):
        self.args = args
        self.ranks, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        self.cuda = torch.cuda.is_available()
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if self.cuda else "cpu")
        if self.cuda:
            torch.cuda.set_device(self.device)
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.enable_cudnn_sdp(False)
        if self.ranks > 1:
            dist.init_process_group("nccl" if self.cuda else "gloo")
        os.makedirs(args.out, exist_ok=True)
        self.dtype = torch.bfloat16 if self.cuda else torch.float32
        self.began = time.time()
        torch.manual_seed(0)
        self.vae = WanAutoencoder(configs.WAN_VAE)
        self.vae.initialise()
        if args.resume:
            stored = torch.load(args.resume, map_location="cpu")
            self.vae.load_state_dict(stored.get("state", stored))
        self.vae.to(self.device)
        if args.compile:
            self.vae.compile_pointwise()
        self.optimiser = Optimiser(self.vae, muon_rate=args.rate, adam_rate=args.rate / 2)
        torch.manual_seed(1000 + self.rank)
        self.draw_clips()

    def log(self, *words):
        if self.rank == 0:
            print(f"[{time.time() - self.began:7.1f}]", *words, flush=True)

    @torch.no_grad()
    def draw_clips(self):
        """Bytes [n, frames, side, side, 3]; half crowds, half clips as the captions describe them."""
        args = self.args
        animations = Animations(args.data, self.device)
        path = f"{args.data}/animations.json"
        half = args.clips // 2
        scenes = Crowds(path).batch(half, 100 + self.rank) + Clips(path).batch(args.clips - half, 200 + self.rank)
        arrays = on_device(as_arrays(scenes), self.device)
        shape = (args.clips, FRAMES, args.side, args.side, 3)
        self.bytes = torch.empty(shape, dtype=torch.uint8, device=self.device)
        for start in range(0, args.clips, 20):
            part = {key: value[start:start + 20] for key, value in arrays.items()}
            drawn = animations.draw(part, side=args.side).movedim(1, -1)
            self.bytes[start:start + 20] = ((drawn + 1) * 127.5).round().byte()
        rng = random.Random(55)
        held = [Clips(path).draw(rng, held_out=True) for _ in range(24 if self.cuda else 2)]
        self.held_out = animations.draw(on_device(as_arrays(held), self.device), side=args.side).movedim(1, -1)
        self.log("clips drawn", tuple(self.bytes.shape))

    def pick(self, frames, batch):
        rows = torch.randint(len(self.bytes), (batch,), device=self.device)
        first = torch.randint(FRAMES - frames + 1, (batch,), device=self.device)
        times = first[:, None] + torch.arange(frames, device=self.device)
        return self.bytes[rows[:, None], times].to(self.dtype) / 127.5 - 1

    @contextlib.contextmanager
    def uncompiled(self):
        """For shapes that are seen too seldom to be worth a compilation."""
        ops, self.vae.ops = self.vae.ops, Pointwise()
        with torch.no_grad():
            yield
        self.vae.ops = ops

    def check(self):
        """PSNR over held-out clips and over their first frames alone, from the mean latents."""
        results = []
        with self.uncompiled():
            for part in (self.held_out, self.held_out[:, :1]):
                error = 0.0
                for clip in part.split(4):
                    mean, _ = self.vae.distribution(clip.movedim(-1, 1).to(self.dtype))
                    drawn = self.vae.reconstruct(mean.to(self.dtype)).clamp(-1, 1)
                    error += ((drawn - clip) / 2).square().mean().item() * len(clip)
                results.append(-10 * math.log10(error / len(part)))
        return results

    def measure_latents(self):
        """Mean and deviation of every channel over clips as the captions describe them."""
        values = []
        with self.uncompiled():
            for start in range(len(self.bytes) - min(240, len(self.bytes) // 2), len(self.bytes), 4):
                clip = self.bytes[start:start + 4].to(self.dtype) / 127.5 - 1
                values.append(self.vae.distribution(clip.movedim(-1, 1))[0].flatten(0, 3))
        values = torch.cat(values)
        if self.ranks > 1:  # the same numbers everywhere
            dist.broadcast(values, 0)
        return values.mean(0).tolist(), values.std(0).tolist()

    def step(self, frames, batch, factor):
        pixels = self.pick(frames, batch)
        mean, log_variance = self.vae.distribution(pixels.movedim(-1, 1))
        log_variance = log_variance.clamp(-20, 5)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        drawn = self.vae.reconstruct(z.to(self.dtype))
        pixels = pixels.float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        (reconstruction_loss(drawn, pixels) + KL_WEIGHT * kl).backward()
        norm = self.optimiser.step(factor, self.average if self.ranks > 1 else None)
        return F.mse_loss(drawn.detach(), pixels), kl.detach(), norm

    def average(self, flat):
        dist.all_reduce(flat)
        flat /= self.ranks

    def train(self):
        args, steps, began, last = self.args, 0, time.time(), time.time()
        phase_start, phase = 0, None
        while True:
            if args.max_steps:
                progress = steps / args.max_steps
            elif steps % 10 == 0:
                clock = torch.tensor([(time.time() - began) / args.seconds], device=self.device)
                if self.ranks > 1:
                    dist.broadcast(clock, 0)
                progress = clock.item()
            if progress >= 1:
                break
            frames = 1 if progress < args.pictures else TRAIN_FRAMES
            if frames != phase:
                phase, phase_start = frames, steps
            warm = min(1.0, (steps - phase_start + 1) / 60)
            hold = args.hold
            fall = 1.0 if progress < hold else max(0.0, 1 - (progress - hold) / (1 - hold))
            mse, kl, norm = self.step(frames, args.batches[frames > 1], warm * (0.01 + 0.99 * fall))
            steps += 1
            if steps % 50 == 0 or steps in (1, 5, 20) or args.max_steps:
                values = torch.stack((mse, kl, norm)).tolist()
                memory = torch.cuda.max_memory_allocated() / 2**30 if self.cuda else 0
                self.log(f"vae step {steps} progress {progress:.3f} frames {frames} "
                         f"PSNR {-10 * math.log10(values[0] / 4):.2f} KL {values[1]:.2f} norm {values[2]:.3f} "
                         f"{50 / (time.time() - last):.1f} steps/s {memory:.0f} GiB")
                last = time.time()
            if steps % 400 == 0 and self.rank == 0:
                self.log("held out, clips and pictures: {:.2f} {:.2f} dB".format(*self.check()))
                torch.save(self.vae.state_dict(), f"{args.out}/vae.pt")
        self.finish(steps, time.time() - began)

    def finish(self, steps, seconds):
        mean, deviation = self.measure_latents()
        if self.rank == 0:
            clips, pictures = self.check()
            self.log(f"vae trained {steps} steps in {seconds:.0f} s: "
                     f"{clips:.2f} dB held-out clips, {pictures:.2f} pictures")
            print("latent deviation", [round(d, 2) for d in deviation], flush=True)
            torch.save(self.vae.state_dict(), f"{self.args.out}/vae.pt")
            config = {**configs.WAN_VAE, "latents_mean": [round(v, 5) for v in mean],
                      "latents_std": [round(v, 5) for v in deviation]}
            torch.save({"config": config, "state": self.vae.state_dict(), "PSNR": clips},
                       f"{self.args.out}/vae-final.pt")
        if self.ranks > 1:
            dist.barrier()
            dist.destroy_process_group()


if __name__ == "__main__":
    VaeRun(parse()).train()

"""Train acorn-image's transformer and text encoders to a deadline.

    torchrun --nproc_per_node 2 train.py --deadline-file FILE --out FOLDER ...

128x128 first, then 256x256, some 512x512 in the second half, guidance
distilled into its embedding in the last part.
"""

import argparse
import os

import torch

import bank as bank_module
import configs
from checkpoint import load_component
from loop import DROPPED_CAPTIONS, Training, add_arguments
from networks import CLIP_LENGTH, ClipText, DoubleBlock, FluxTransformer, SingleBlock, T5Encoder
from sampling import shift_factor, time_shift
from tokenizer import Tokenizer

SIZES = (128, 256, 512)
# Training noise is a little later than sampling's shift at 256x256.
TRAIN_SHIFT = {128: 1.65, 256: 1.878, 512: shift_factor(4096)}


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    for name in ("--data", "--vae"):
        parser.add_argument(name, required=True)
    parser.add_argument("--resume", help="state.pt or averaged.pt of an earlier run, or a model folder")
    parser.add_argument("--bank-counts", type=int, nargs=3, default=(2048, 2048, 128))
    parser.add_argument("--batches", type=int, nargs=3, default=(512, 256, 40), help="a GPU, at 128, 256, 512")
    parser.add_argument("--first-256", type=float, default=0.20, help="progress at which 256x256 begins")
    parser.add_argument("--first-512", type=float, default=0.45)
    return parser.parse_args()


class Run(Training):
    modules = ("transformer", "t5", "clip")
    blocks = (DoubleBlock, SingleBlock)
    teacher_seconds = 60  # it answers at scale 1, which keeps being trained

    def build(self):
        args, device = self.args, self.device
        if args.bank:
            lazily = {"mmap": True} if device.type == "cuda" else {}
            stored = torch.load(args.bank.format(rank=self.rank), map_location="cpu", **lazily)
            self.banks = {size: (z.to(device), ids.to(device)) for size, (z, ids) in stored.items()}
        else:
            sizes = dict(zip(SIZES, args.bank_counts))
            self.banks = bank_module.build(args.data, args.vae, args.tokenizer, sizes, 31 * (self.rank + 1), device,
                                           workers=1)
        self.log("banks", {size: len(z) for size, (z, _) in self.banks.items()})
        self.empty = torch.from_numpy(Tokenizer(args.tokenizer).batch([""], 128)).to(device)
        config = configs.TINY_TRANSFORMER if args.tiny else configs.TRANSFORMER
        self.prepare({"transformer": FluxTransformer(config), "t5": T5Encoder(configs.T5),
                      "clip": ClipText(configs.CLIP)})

    def load_state(self, path):
        """A .pt file of this program, or a model folder (8-bit rows are expanded)."""
        if not os.path.isdir(path):
            return super().load_state(path)
        folders = {"transformer": "transformer", "t5": "text_encoder_2", "clip": "text_encoder"}
        averaged = {name: load_component(os.path.join(path, folder))[1] for name, folder in folders.items()}
        return {"averaged": averaged, "steps": 1000, "samples": {}}

    def phase(self, progress):
        """Which resolution this step trains at."""
        if progress < self.args.first_256:
            return 128
        if progress >= self.args.first_512:
            every = 4 if progress >= self.args.guided else 8
            if self.steps % every == 0:
                return 512
        return 256

    def batch(self, phase):
        return self.args.batches[SIZES.index(phase)]

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

    def step(self, phase, guided, factor):
        batch = self.batch(phase)
        latents, captions = self.banks[phase]
        device = self.device
        rows = torch.randint(len(latents), (batch,), device=device)
        z, ids = latents[rows].float(), captions[rows].long()
        noise = torch.randn_like(z)
        t = time_shift(torch.sigmoid(torch.randn(batch, device=device)), TRAIN_SHIFT[phase])
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
        norm = self.update(losses, factor, phase)
        return losses[half:].mean().detach(), norm


if __name__ == "__main__":
    Run(parse()).train()

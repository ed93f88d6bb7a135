"""Train acorn-video's transformer and text encoder to a deadline.

    torchrun --nproc_per_node 2 train_video.py --deadline-file FILE --out FOLDER --bank bank_{rank}.pt ...

First frames alone first: they say what things look like at a seventh of the
price. Then whole clips, with a step of first frames now and then. In the
last part the target itself is guided by a frozen average of the weights, at
one fixed scale: Wan has no guidance embedding, and a step of sampling needs
one forward.
"""

import argparse

import torch

import configs
from clips import TEXT_LENGTH
from loop import DROPPED_CAPTIONS, Training, add_arguments
from networks import T5Encoder
from sampling import time_shift
from tokenizer import Tokenizer
from wan import WanBlock, WanTransformer

TRAIN_SHIFT = {1: 1.5, 7: 2.2}


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--resume", help="state.pt or averaged.pt of an earlier run")
    parser.add_argument("--batches", type=int, nargs=2, default=(640, 80), help="a GPU: first frames, clips")
    parser.add_argument("--first-clips", type=float, default=0.25, help="progress at which clips begin")
    parser.add_argument("--scale", type=float, default=3.0, help="of the guidance that is trained in")
    return parser.parse_args()


class VideoRun(Training):
    modules = ("transformer", "t5")
    blocks = (WanBlock,)
    # The teacher is never renewed: weights that have learned the guided target
    # would be guided once more, and the scales multiply.

    def build(self):
        args, device = self.args, self.device
        lazily = {"mmap": True} if device.type == "cuda" else {}
        stored = torch.load(args.bank.format(rank=self.rank), map_location="cpu", **lazily)
        self.banks = {frames: (z.to(device), ids.to(device)) for frames, (z, ids) in stored.items()}
        self.log("banks", {frames: len(z) for frames, (z, _) in self.banks.items()})
        self.empty = torch.from_numpy(Tokenizer(args.tokenizer).batch([""], TEXT_LENGTH)).to(device)
        config = configs.TINY_WAN_TRANSFORMER if args.tiny else configs.WAN_TRANSFORMER
        self.prepare({"transformer": WanTransformer(config), "t5": T5Encoder(configs.UMT5)})

    def phase(self, progress):
        """Latent frames of the next step."""
        if progress < self.args.first_clips:
            return 1
        return 1 if self.steps % 8 == 0 and progress < self.args.guided else 7

    def batch(self, phase):
        return self.args.batches[phase > 1]

    def guided_target(self, x, ids, t, v):
        """Move the target along the teacher's own guidance direction."""
        with torch.no_grad():
            text = self.teacher["t5"](torch.cat((ids, self.empty.long())))
            without_text = text[len(ids):].expand(len(ids), -1, -1)
            # Two calls of the shape that training has: nothing more to compile.
            with_caption = self.teacher["transformer"](x, text[:len(ids)], t)
            without = self.teacher["transformer"](x, without_text, t)
        return v + (self.args.scale - 1) * (with_caption - without)

    def step(self, phase, guided, factor):
        batch, device = self.batch(phase), self.device
        latents, captions = self.banks[phase]
        rows = torch.randint(len(latents), (batch,), device=device)
        z, ids = latents[rows].float(), captions[rows].long()
        noise = torch.randn_like(z)
        t = time_shift(torch.sigmoid(torch.randn(batch, device=device)), TRAIN_SHIFT[phase])
        share = t.view(-1, 1, 1, 1, 1)
        x, v = (1 - share) * z + share * noise, noise - z
        if not guided:
            dropped = torch.rand(batch, device=device) < DROPPED_CAPTIONS
            ids = torch.where(dropped[:, None], self.empty.long(), ids)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            if guided:
                v = self.guided_target(x, ids, t, v)
            out = self.models["transformer"](x, self.models["t5"](ids), t)
        losses = (out - v).square().mean((1, 2, 3, 4))
        norm = self.update(losses, factor, phase)
        return losses.mean().detach(), norm


if __name__ == "__main__":
    VideoRun(parse()).train()

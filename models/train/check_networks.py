"""Compare these networks with a recorded diffusers trajectory.

    python3 check_networks.py MODEL_FOLDER [--steps N]

MODEL_FOLDER holds a checkpoint in the diffusers layout and its
`golden.safetensors`. Prints the relative error of each part.
"""

import argparse
import os

import torch

import sampling
from checkpoint import load_component, load_metadata, load_tensors
from networks import Autoencoder, ClipText, FluxTransformer, T5Encoder
from tokenizer import Tokenizer


def load_models(folder, device="cpu"):
    """All four networks of a checkpoint folder, float32, ready to sample."""
    classes = {"transformer": (FluxTransformer, "transformer"), "t5": (T5Encoder, "text_encoder_2"),
               "clip": (ClipText, "text_encoder"), "vae": (Autoencoder, "vae")}
    models = {}
    for name, (cls, sub) in classes.items():
        config, tensors = load_component(os.path.join(folder, sub))
        models[name] = cls(config)
        models[name].load_state_dict(tensors)
        models[name].to(device).eval().requires_grad_(False)
    return models


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    path = os.path.join(args.folder, "golden.safetensors")
    golden, settings = load_tensors(path), load_metadata(path)
    guidance = torch.tensor([float(settings["guidance_scale"])])
    models = load_models(args.folder)
    ids = Tokenizer(os.path.join(args.folder, "tokenizer_2/tokenizer.json")).batch([settings["prompt"]], 128)
    ids = torch.from_numpy(ids).long()
    assert (ids == golden["t5.input_ids"]).all(), "token ids differ"
    with torch.no_grad():
        text, pooled = models["t5"](ids), models["clip"](ids[:, :77])
        print("t5", relative(text, golden["t5.last_hidden_state"]), "clip", relative(pooled, golden["clip.pooled"]))
        x, steps = golden["pipeline.latents_initial"], golden["pipeline.sigmas"]
        print("sigmas", (sampling.sigmas(20, 1024) - steps).abs().max().item())
        for i in range(args.steps):
            v = models["transformer"](x, text, pooled, steps[i:i + 1], guidance)
            x = x + (steps[i + 1] - steps[i]) * v
            if i in (0, args.steps - 1):
                print("latents after step", i + 1, relative(x, golden["pipeline.latents_steps"][i]))
        if args.steps == 20:
            picture = (models["vae"].decode(x) / 2 + 0.5).clamp(0, 1)
            print("picture", relative(picture, golden["pipeline.image"]))


if __name__ == "__main__":
    main()

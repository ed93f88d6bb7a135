"""Compare these networks with a recorded diffusers trajectory.

    python3 check_networks.py MODEL_FOLDER [--steps N]

MODEL_FOLDER holds a checkpoint in the diffusers layout and its
`golden.safetensors`. Prints the relative error of each part.
"""

import argparse
import os

import torch

import sampling
import video_sampling
from checkpoint import load_component, load_metadata, load_tensors
from networks import Autoencoder, ClipText, FluxTransformer, T5Encoder
from tokenizer import Tokenizer
from wan import WanTransformer
from wan_vae import WanAutoencoder

PICTURE_CLASSES = {"transformer": (FluxTransformer, "transformer"), "t5": (T5Encoder, "text_encoder_2"),
                   "clip": (ClipText, "text_encoder"), "vae": (Autoencoder, "vae")}
CLIP_CLASSES = {"transformer": (WanTransformer, "transformer"), "t5": (T5Encoder, "text_encoder"),
                "vae": (WanAutoencoder, "vae")}


def load_models(folder, device="cpu", classes=PICTURE_CLASSES):
    """All networks of a checkpoint folder, float32, ready to sample."""
    models = {}
    for name, (cls, sub) in classes.items():
        config, tensors = load_component(os.path.join(folder, sub))
        models[name] = cls(config)
        models[name].load_state_dict(tensors)
        models[name].to(device).eval().requires_grad_(False)
    return models


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def check_picture(folder, golden, settings, count):
    guidance = torch.tensor([float(settings["guidance_scale"])])
    models = load_models(folder)
    ids = Tokenizer(os.path.join(folder, "tokenizer_2/tokenizer.json")).batch([settings["prompt"]], 128)
    ids = torch.from_numpy(ids).long()
    assert (ids == golden["t5.input_ids"]).all(), "token ids differ"
    text, pooled = models["t5"](ids), models["clip"](ids[:, :77])
    print("t5", relative(text, golden["t5.last_hidden_state"]), "clip", relative(pooled, golden["clip.pooled"]))
    x, steps = golden["pipeline.latents_initial"], golden["pipeline.sigmas"]
    print("sigmas", (sampling.sigmas(20, 1024) - steps).abs().max().item())
    for i in range(count):
        v = models["transformer"](x, text, pooled, steps[i:i + 1], guidance)
        x = x + (steps[i + 1] - steps[i]) * v
        if i in (0, count - 1):
            print("latents after step", i + 1, relative(x, golden["pipeline.latents_steps"][i]))
    if count == 20:
        picture = (models["vae"].decode(x) / 2 + 0.5).clamp(0, 1)
        print("picture", relative(picture, golden["pipeline.image"]))


def check_clip(folder, golden, settings, count):
    models = load_models(folder, classes=CLIP_CLASSES)
    ids = Tokenizer(os.path.join(folder, "tokenizer/tokenizer.json")).batch([settings["prompt"]], 64)
    ids = torch.from_numpy(ids).long()
    assert (ids == golden["umt5.input_ids"]).all(), "token ids differ"
    text = models["t5"](ids)
    print("umt5", relative(text, golden["pipeline.prompt_embeds"]))
    velocity = models["transformer"](golden["transformer.hidden_states"], golden["transformer.encoder_hidden_states"],
                                     golden["transformer.timestep"] / 1000)
    print("transformer", relative(velocity, golden["transformer.sample"]))
    steps = len(golden["pipeline.timesteps"])
    levels = video_sampling.sigmas(steps)
    print("sigmas", (levels.float() - golden["pipeline.sigmas"]).abs().max().item())
    solver, x = video_sampling.UniPC(levels), golden["pipeline.latents_in"]
    for i, time in enumerate(golden["pipeline.timesteps"][:count].tolist()):
        x = solver.step(models["transformer"](x, text, torch.tensor([time / 1000])), x)
        if i in (0, count - 1, steps - 1):
            print("latents after step", i + 1, relative(x, golden["pipeline.latents_by_step"][i]))
    if count >= steps:
        clip = (models["vae"].decode(x) / 2 + 0.5).transpose(1, 2)
        print("clip", relative(clip, golden["pipeline.video"]))


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    path = os.path.join(args.folder, "golden.safetensors")
    golden, settings = load_tensors(path), load_metadata(path)
    check = check_clip if "pipeline.video" in golden else check_picture
    check(args.folder, golden, settings, args.steps)


if __name__ == "__main__":
    main()

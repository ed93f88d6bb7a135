"""Record a trajectory with diffusers, in float32, from the shipped weights.

    PYTHONPATH=diffusers/src python3 golden.py --model FOLDER --out golden.safetensors

The 8-bit rows are expanded first, into a temporary folder that diffusers
can read.
"""

import argparse
import json
import os
import shutil
import tempfile

import torch

from checkpoint import load_component, save_tensors


def expand(model, folder):
    """A copy with plain float32 weights."""
    files = {"transformer": "diffusion_pytorch_model.safetensors", "vae": "diffusion_pytorch_model.safetensors",
             "text_encoder": "model.safetensors", "text_encoder_2": "model.safetensors"}
    for name, file in files.items():
        config, tensors = load_component(os.path.join(model, name))
        config.pop("quantization_config", None)
        if "dtype" in config:  # only transformers' configs name one
            config["dtype"] = "float32"
        os.makedirs(f"{folder}/{name}")
        with open(f"{folder}/{name}/config.json", "w") as out:
            json.dump(config, out)
        save_tensors(tensors, f"{folder}/{name}/{file}")
    for name in ("tokenizer", "tokenizer_2", "scheduler"):
        shutil.copytree(f"{model}/{name}", f"{folder}/{name}")
    shutil.copy(f"{model}/model_index.json", folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--prompt", default="3d render of a fox on a sky blue background")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    from diffusers import FluxPipeline

    with tempfile.TemporaryDirectory() as folder:
        expand(args.model, folder)
        pipe = FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    out = {}
    clip = pipe.tokenizer(args.prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    t5 = pipe.tokenizer_2(args.prompt, padding="max_length", max_length=128, truncation=True, return_tensors="pt")
    out["clip.input_ids"], out["t5.input_ids"] = clip.input_ids.int(), t5.input_ids.int()
    with torch.no_grad():
        text, pooled, _ = pipe.encode_prompt(args.prompt, args.prompt, max_sequence_length=128)
    out["t5.last_hidden_state"], out["clip.pooled"] = text.float(), pooled.float()
    # Seed 0 of this program's own sampler, so that pictures can be compared.
    initial = torch.randn(1, 1024, 32, generator=torch.Generator().manual_seed(0))
    steps = []

    def keep(pipe, i, t, kwargs):
        steps.append(kwargs["latents"].clone())
        return kwargs

    picture = pipe(prompt_embeds=text, pooled_prompt_embeds=pooled, height=256, width=256, latents=initial,
                   num_inference_steps=args.steps, guidance_scale=args.guidance, output_type="pt",
                   callback_on_step_end=keep).images
    out.update({"pipeline.latents_initial": initial, "pipeline.latents_steps": torch.stack(steps),
                "pipeline.sigmas": pipe.scheduler.sigmas.float(), "pipeline.timesteps": pipe.scheduler.timesteps.float(),
                "pipeline.image": picture.float()})
    save_tensors({k: v.contiguous() for k, v in out.items()}, args.out,
                 {"prompt": args.prompt, "guidance_scale": str(args.guidance), "steps": str(args.steps), "size": "256"})
    print("golden written", args.out, "picture mean", picture.mean().item(), flush=True)


if __name__ == "__main__":
    main()

"""Record a trajectory with diffusers, in float32, from the shipped weights.

    PYTHONPATH=diffusers/src python3 golden.py --model FOLDER --out golden.safetensors [--video]

`--video` records acorn-video: a short, small trajectory, so that the file stays
small and the comparison quick, and one forward at the trained size. The 8-bit rows are expanded first, into a temporary folder that diffusers
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
        if not os.path.isdir(os.path.join(model, name)):
            continue
        config, tensors = load_component(os.path.join(model, name))
        config.pop("quantization_config", None)
        if "dtype" in config:  # only transformers' configs name one
            config["dtype"] = "float32"
        os.makedirs(f"{folder}/{name}")
        with open(f"{folder}/{name}/config.json", "w") as out:
            json.dump(config, out)
        save_tensors(tensors, f"{folder}/{name}/{file}")
    for name in ("tokenizer", "tokenizer_2", "scheduler"):
        if os.path.isdir(f"{model}/{name}"):
            shutil.copytree(f"{model}/{name}", f"{folder}/{name}")
    shutil.copy(f"{model}/model_index.json", folder)


def open_pipeline(kind, model):
    """A diffusers pipeline in float32; its step callback collects the latents."""
    with tempfile.TemporaryDirectory() as folder:
        expand(model, folder)
        pipe = kind.from_pretrained(folder, torch_dtype=torch.float32)
    steps = []

    def keep(pipe, i, t, kwargs):
        steps.append(kwargs["latents"].clone())
        return kwargs

    return pipe, steps, keep


def save(out, path, settings):
    save_tensors({k: v.contiguous() for k, v in out.items()}, path, settings)
    print("golden written", path, flush=True)


def record_picture(args):
    from diffusers import FluxPipeline

    pipe, steps, keep = open_pipeline(FluxPipeline, args.model)
    out = {}
    clip = pipe.tokenizer(args.prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    t5 = pipe.tokenizer_2(args.prompt, padding="max_length", max_length=128, truncation=True, return_tensors="pt")
    out["clip.input_ids"], out["t5.input_ids"] = clip.input_ids.int(), t5.input_ids.int()
    with torch.no_grad():
        text, pooled, _ = pipe.encode_prompt(args.prompt, args.prompt, max_sequence_length=128)
    out["t5.last_hidden_state"], out["clip.pooled"] = text.float(), pooled.float()
    # Seed 0 of this program's own sampler, so that pictures can be compared.
    initial = torch.randn(1, 1024, 32, generator=torch.Generator().manual_seed(0))
    picture = pipe(prompt_embeds=text, pooled_prompt_embeds=pooled, height=256, width=256, latents=initial,
                   num_inference_steps=args.steps, guidance_scale=args.guidance, output_type="pt",
                   callback_on_step_end=keep).images
    out.update({"pipeline.latents_initial": initial, "pipeline.latents_steps": torch.stack(steps),
                "pipeline.sigmas": pipe.scheduler.sigmas.float(), "pipeline.timesteps": pipe.scheduler.timesteps.float(),
                "pipeline.image": picture.float()})
    save(out, args.out, {"prompt": args.prompt, "guidance_scale": str(args.guidance), "steps": str(args.steps),
                         "size": "256"})


VIDEO_SIDE, VIDEO_FRAMES = 128, 9


def record_clip(args):
    """Trajectory of 9 frames of 128x128, and the transformer alone at 25 frames of 256x256."""
    from diffusers import WanPipeline

    pipe, steps, keep = open_pipeline(WanPipeline, args.model)
    out = {}
    tokens = pipe.tokenizer(args.prompt, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
    out["umt5.input_ids"], out["umt5.attention_mask"] = tokens.input_ids.int(), tokens.attention_mask.int()
    with torch.no_grad():
        states = pipe.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        text, _ = pipe.encode_prompt(args.prompt, do_classifier_free_guidance=False, max_sequence_length=64)
    out["umt5.last_hidden_state"], out["pipeline.prompt_embeds"] = states.float(), text.float()
    shape = (1, 16, 1 + (VIDEO_FRAMES - 1) // 4, VIDEO_SIDE // 8, VIDEO_SIDE // 8)
    initial = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    video = pipe(prompt_embeds=text, height=VIDEO_SIDE, width=VIDEO_SIDE, num_frames=VIDEO_FRAMES, latents=initial,
                 num_inference_steps=args.steps, guidance_scale=1.0, output_type="pt", max_sequence_length=64,
                 callback_on_step_end=keep).frames
    schedule = pipe.scheduler
    out.update({"pipeline.latents_in": initial, "pipeline.latents_by_step": torch.stack(steps),
                "pipeline.sigmas": schedule.sigmas.float(), "pipeline.timesteps": schedule.timesteps.float(),
                "pipeline.video": video.float()})
    clip = torch.randn(1, 16, 7, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        velocity = pipe.transformer(clip, torch.tensor([700]), text).sample
    out.update({"transformer.hidden_states": clip, "transformer.timestep": torch.tensor([700], dtype=torch.int32),
                "transformer.encoder_hidden_states": text, "transformer.sample": velocity})
    save(out, args.out, {"prompt": args.prompt, "guidance_scale": "1.0", "steps": str(args.steps),
                         "width": str(VIDEO_SIDE), "height": str(VIDEO_SIDE), "frames": str(VIDEO_FRAMES)})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--video", action="store_true")
    parser.add_argument("--prompt")
    parser.add_argument("--guidance", type=float, default=3.0, help="of a picture; a clip has its scale trained in")
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    if args.video:
        args.prompt = args.prompt or "an animated fox moves left on a sky blue background"
        args.steps = args.steps or 12
        record_clip(args)
    else:
        args.prompt = args.prompt or "3d render of a fox on a sky blue background"
        args.steps = args.steps or 20
        record_picture(args)


if __name__ == "__main__":
    main()

"""Write a trained model in the diffusers layout.

    python3 export.py --weights averaged.pt --base FOLDER --out FOLDER [--bf16]

`--base` gives autoencoder, scheduler and tokenizers. Without `--bf16`,
matrices become int8 rows with a float32 scale each.
"""

import argparse
import json
import os
import shutil

import torch

import configs
from checkpoint import QUANTIZATION, load_component, quantise, save_component


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--weights", "--base", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    averaged = torch.load(args.weights, map_location="cpu")["averaged"]
    vae_config, vae = load_component(os.path.join(args.base, "vae"))
    vae_config.pop("quantization_config", None)
    parts = {
        "transformer": ("diffusion_pytorch_model.safetensors",
                        configs.TINY_TRANSFORMER if args.tiny else configs.TRANSFORMER, averaged["transformer"]),
        "text_encoder_2": ("model.safetensors", configs.T5, averaged["t5"]),
        "text_encoder": ("model.safetensors", configs.CLIP, averaged["clip"]),
        "vae": ("diffusion_pytorch_model.safetensors", vae_config, vae),
    }
    for name, (file, config, tensors) in parts.items():
        config = dict(config)
        if args.bf16:
            tensors = {k: v.bfloat16() for k, v in tensors.items()}
        else:
            config["quantization_config"] = QUANTIZATION
            tensors = quantise(tensors)
        save_component(os.path.join(args.out, name), file, config, tensors)
    for name in ("tokenizer", "tokenizer_2", "scheduler"):
        shutil.copytree(os.path.join(args.base, name), os.path.join(args.out, name), dirs_exist_ok=True)
    with open(os.path.join(args.out, "model_index.json"), "w") as out:
        json.dump(configs.MODEL_INDEX, out, indent=2)
        out.write("\n")
    print("exported", args.out, flush=True)


if __name__ == "__main__":
    main()

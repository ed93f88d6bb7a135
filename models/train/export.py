"""Write a trained model in the diffusers layout.

    python3 export.py --weights averaged.pt --base FOLDER --out FOLDER [--bf16]
    python3 export.py --video --weights averaged.pt --base FOLDER --vae vae-final.pt --out FOLDER

`--base` gives autoencoder (or `--vae`), scheduler and tokenizers. Without
`--bf16`, matrices become int8 rows with a float32 scale each.
"""

import argparse
import json
import os
import shutil

import torch

import configs
from checkpoint import QUANTIZATION, load_component, quantise, save_component


def write_json(path, value):
    with open(path, "w") as out:
        json.dump(value, out, indent=2)
        out.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--base", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--weights", help="without: the autoencoder alone")
    parser.add_argument("--vae", help="vae-final.pt of train_vae.py")
    parser.add_argument("--video", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    averaged = torch.load(args.weights, map_location="cpu")["averaged"] if args.weights else None
    if args.vae:
        stored = torch.load(args.vae, map_location="cpu")
        vae_config, vae = stored["config"], stored["state"]
    else:
        vae_config, vae = load_component(os.path.join(args.base, "vae"))
        vae_config.pop("quantization_config", None)
    diffusers, transformers = "diffusion_pytorch_model.safetensors", "model.safetensors"
    parts = {"vae": (diffusers, vae_config, vae)}
    if averaged:
        if args.video:
            transformer = configs.TINY_WAN_TRANSFORMER if args.tiny else configs.WAN_TRANSFORMER
            parts["text_encoder"] = (transformers, configs.UMT5, averaged["t5"])
        else:
            transformer = configs.TINY_TRANSFORMER if args.tiny else configs.TRANSFORMER
            parts["text_encoder_2"] = (transformers, configs.T5, averaged["t5"])
            parts["text_encoder"] = (transformers, configs.CLIP, averaged["clip"])
        parts["transformer"] = (diffusers, transformer, averaged["transformer"])
    for name, (file, config, tensors) in parts.items():
        config = dict(config)
        if args.bf16:
            tensors = {k: v.bfloat16() for k, v in tensors.items()}
        else:
            config["quantization_config"] = QUANTIZATION
            tensors = quantise(tensors)
        save_component(os.path.join(args.out, name), file, config, tensors)
    if averaged:
        for name in ("tokenizer",) if args.video else ("tokenizer", "tokenizer_2", "scheduler"):
            shutil.copytree(os.path.join(args.base, name), os.path.join(args.out, name), dirs_exist_ok=True)
        if args.video:
            os.makedirs(os.path.join(args.out, "scheduler"), exist_ok=True)
            write_json(os.path.join(args.out, "scheduler/scheduler_config.json"), configs.WAN_SCHEDULER)
        write_json(os.path.join(args.out, "model_index.json"), configs.WAN_INDEX if args.video else configs.MODEL_INDEX)
    print("exported", args.out, flush=True)


if __name__ == "__main__":
    main()

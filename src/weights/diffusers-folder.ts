import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { TamiasError } from "../../ffi/errors.ts";
import { Checkpoint } from "./checkpoint.ts";
import { parseWith, readJsonObject } from "./json-file.ts";
import { checkRelativePath } from "./relative-path.ts";
import { readSafetensors, type TensorEntry } from "./safetensors.ts";

const singleFiles = ["diffusion_pytorch_model.safetensors", "model.safetensors"];
const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/**
 * Opens one component of a diffusers-format model (`transformer/`, `vae/`, `text_encoder/` …): `config.json`
 * and the weights beside it, in one safetensors file or in shards with an index. Reads headers only.
 * @throws TamiasError `not_found` when the folder, its config or a weight file is missing,
 *   `bad_weights` when one of them is damaged, `io` when one cannot be read
 */
export async function openCheckpoint(folder: string): Promise<Checkpoint> {
  const files = new Set(await listFolder(folder));
  const config = await readJsonObject(join(folder, "config.json"));
  const single = singleFiles.find((name) => files.has(name));
  if (single !== undefined) {
    const { tensors } = await readSafetensors(join(folder, single));
    return new Checkpoint(folder, config, tensors);
  }
  const index = singleFiles.map((name) => `${name}.index.json`).find((name) => files.has(name));
  if (index === undefined) {
    throw new TamiasError("not_found", `${folder} holds no weights in safetensors format.`, {
      hint: `Expected is one of ${singleFiles.join(", ")}, or an index of shards named like it.`,
    });
  }
  return new Checkpoint(folder, config, await readShards(folder, index));
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    throw new TamiasError("not_found", `There is no folder ${folder} that can be read.`, { cause });
  }
}

async function readShards(folder: string, index: string): Promise<Map<string, TensorEntry>> {
  const indexPath = join(folder, index);
  const { weight_map } = parseWith(indexSchema, await readJsonObject(indexPath), indexPath);
  const wanted = Object.entries(weight_map);
  const shards = new Map<string, ReadonlyMap<string, TensorEntry>>();
  for (const shard of new Set(Object.values(weight_map))) {
    checkRelativePath(shard, indexPath);
    shards.set(shard, (await readSafetensors(join(folder, shard))).tensors);
  }
  const tensors = new Map<string, TensorEntry>();
  for (const [name, shard] of wanted) {
    const entry = shards.get(shard)?.get(name);
    if (!entry) {
      throw new TamiasError(
        "bad_weights",
        `${indexPath} says that ${shard} holds "${name}", but it does not.`,
      );
    }
    tensors.set(name, entry);
  }
  return tensors;
}

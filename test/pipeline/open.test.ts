import { expect, test } from "bun:test";
import { cp, mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { familyOf } from "../../src/pipeline/families.ts";
import { listModels } from "../../src/pipeline/models.ts";
import { open } from "../../src/pipeline/open.ts";

const acorn = fileURLToPath(new URL("../../models/acorn-image", import.meta.url));

async function damaged(damage: (folder: string) => Promise<unknown>): Promise<Error> {
  const folder = join(await mkdtemp(join(tmpdir(), "tamias-")), "model");
  try {
    await cp(acorn, folder, { recursive: true });
    await damage(folder);
    await using opened = await open({ model: folder, device: "cpu" });
    throw new Error(`${opened.model} opened`);
  } catch (error) {
    return error as Error;
  } finally {
    await rm(join(folder, ".."), { recursive: true });
  }
}

const weights = "transformer/diffusion_pytorch_model-00001-of-00002.safetensors";

test.each<[string, (folder: string) => Promise<unknown>, RegExp]>([
  ["weights that are missing", (folder) => rm(join(folder, weights)), /transformer/],
  ["weights cut short", (folder) => truncate(join(folder, weights), 100_000), /transformer/],
  [
    "a header that lies",
    (folder) => Bun.write(join(folder, weights), new Uint8Array(64).fill(255)),
    /transformer/,
  ],
  [
    "a config of another network",
    (folder) => Bun.write(join(folder, "vae/config.json"), '{"_class_name":"Other"}'),
    /vae.*config/,
  ],
  [
    "a config that does not fit the weights",
    async (folder) => {
      const path = join(folder, "transformer/config.json");
      const config = (await Bun.file(path).json()) as Record<string, unknown>;
      return Bun.write(path, JSON.stringify({ ...config, in_channels: 64 }));
    },
    /shape/,
  ],
  [
    "a tokenizer that is no JSON",
    (folder) => Bun.write(join(folder, "tokenizer/tokenizer.json"), "{"),
    /tokenizer/,
  ],
  [
    "a pipeline nobody wrote",
    (folder) => Bun.write(join(folder, "model_index.json"), '{"_class_name":"PixArtPipeline"}'),
    /PixArtPipeline/,
  ],
])("%s: one clear sentence, no crash", async (_what, damage, message) => {
  const error = await damaged(damage);
  expect(error.name).toBe("TamiasError");
  expect(error.message).toMatch(message);
});

test("an unknown model and device say what there is", async () => {
  await expect(open({ model: "acorn-imgae" })).rejects.toMatchObject({
    code: "not_found",
    hint: expect.stringContaining("acorn-image"),
  });
  await expect(open({ model: "acorn-image", device: "tpu" as "cpu" })).rejects.toThrow(/tpu/);
  await expect(open({ model: "acorn-image", device: "cpu", threads: -1 })).rejects.toThrow(/threads/);
});

test("every model that is listed can be run", async () => {
  const models = await listModels();
  expect(models.map(({ name }) => name)).toContain("acorn-image");
  for (const { pipeline, family } of models) expect(familyOf(pipeline)?.title).toBe(family);
});

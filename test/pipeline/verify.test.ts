import { expect, test } from "bun:test";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyFolder } from "../../src/pipeline/verify.ts";
import { tinyFlux } from "../models/with-ops.ts";

test("every part of the tiny FLUX agrees with the reference", async () => {
  const rows = await verifyFolder(tinyFlux, { device: "cpu" });
  expect(rows.map(({ part }) => part)).toEqual([
    "clip",
    "t5",
    "transformer",
    "vae.decode",
    "vae.encode",
    "pipeline",
  ]);
  expect(rows.filter(({ ok }) => !ok)).toEqual([]);
  // float32 rounding only: well inside what is asked.
  for (const { error } of rows) expect(error).toBeLessThan(2e-5);
});

async function inCopy(change: (folder: string) => Promise<unknown>, body: (folder: string) => Promise<void>) {
  const parent = await mkdtemp(join(tmpdir(), "tamias-"));
  const folder = join(parent, "model");
  try {
    await cp(tinyFlux, folder, { recursive: true });
    await change(folder);
    await body(folder);
  } finally {
    await rm(parent, { recursive: true });
  }
}

test("a part that differs is reported, not thrown", () =>
  inCopy(
    (folder) => writeFile(join(folder, "golden.json"), '{"guidance_scale": 1}'),
    async (folder) => {
      const rows = await verifyFolder(folder, { device: "cpu" });
      expect(rows.filter(({ ok }) => !ok).map(({ part }) => part)).toEqual(["pipeline"]);
      expect(rows.at(-1)!.error).toBeGreaterThan(1e-3);
    },
  ));

test.each<[string, (folder: string) => Promise<unknown>, RegExp]>([
  ["reference outputs", (folder) => rm(join(folder, "golden.safetensors")), /golden\.safetensors/],
  ["an encoder", (folder) => rm(join(folder, "text_encoder"), { recursive: true }), /text_encoder/],
  ["an index", (folder) => rm(join(folder, "model_index.json")), /There is no model/],
  [
    "a family this build knows",
    (folder) => writeFile(join(folder, "model_index.json"), '{"_class_name": "WanPipeline"}'),
    /WanPipeline/,
  ],
  ["a guidance scale", (folder) => writeFile(join(folder, "golden.json"), "{}"), /guidance_scale/],
])("a folder without %s is refused by name", (_, change, sentence) =>
  inCopy(change, async (folder) => {
    const error = await verifyFolder(folder, { device: "cpu" }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "TamiasError", message: expect.stringMatching(sentence) });
  }),
);

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { z } from "zod";
import { openCheckpoint } from "../../src/weights/diffusers-folder.ts";
import { parseWith, readJsonObject } from "../../src/weights/json-file.ts";
import { readTensorFloat32 } from "../../src/weights/read-tensor.ts";
import { type TensorData, writeSafetensors } from "../../src/weights/write-safetensors.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const golden = join(import.meta.dir, "../goldens/flux-tiny");
const vector = (...values: number[]): TensorData => ({
  dtype: "F32",
  shape: [values.length],
  data: Float32Array.from(values),
});

/** A component of the given files; texts and JSON as they are, tensors as safetensors. */
async function component(files: Record<string, string | object>) {
  const folder = await temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder.path, name);
    if (name.endsWith(".safetensors")) await writeSafetensors(path, content as Record<string, TensorData>);
    else await Bun.write(path, typeof content === "string" ? content : JSON.stringify(content));
  }
  return folder;
}

const indexName = "diffusion_pytorch_model.safetensors.index.json";

describe("a sound component", () => {
  test.each(["transformer", "vae", "text_encoder", "text_encoder_2"])("%s of a real folder", async (name) => {
    const checkpoint = await openCheckpoint(join(golden, name));
    expect(checkpoint.names().length).toBeGreaterThan(5);
    expect(Object.keys(checkpoint.config).length).toBeGreaterThan(5);
    for (const tensor of checkpoint.names()) {
      const entry = checkpoint.get(tensor);
      expect(entry.dtype).toBe("BF16");
      expect(entry.byteLength).toBe(2 * entry.shape.reduce((product, extent) => product * extent, 1));
      expect(checkpoint.scaleOf(tensor)).toBeUndefined();
    }
    const values = await readTensorFloat32(checkpoint.get(checkpoint.names()[0]!));
    expect(values.every(Number.isFinite)).toBe(true);
  });

  test("in shards", async () => {
    await using folder = await component({
      "config.json": { layers: 2 },
      "one.safetensors": { a: vector(1, 2) },
      "two.safetensors": { b: vector(3), unlisted: vector(4) },
      [indexName]: {
        metadata: { total_size: 12 },
        weight_map: { a: "one.safetensors", b: "two.safetensors" },
      },
    });
    const checkpoint = await openCheckpoint(folder.path);
    expect(checkpoint.names().toSorted()).toEqual(["a", "b"]);
    expect(checkpoint.has("a")).toBe(true);
    expect(checkpoint.has("unlisted")).toBe(false);
    expect(checkpoint.get("b").path).toBe(join(folder.path, "two.safetensors"));
    expect([...(await readTensorFloat32(checkpoint.get("a", [2])))]).toEqual([1, 2]);
    expect(checkpoint.config).toEqual({ layers: 2 });
  });
});

describe("a component that is not sound", () => {
  const index = (weight_map: unknown) => ({ "config.json": "{}", [indexName]: { weight_map } });
  test.each<[string, string, RegExp, Record<string, string | object>]>([
    ["no config", "not_found", /config\.json/, { "model.safetensors": {} }],
    ["no weights", "not_found", /no weights in safetensors format/, { "config.json": "{}" }],
    [
      "a config that is no JSON",
      "bad_weights",
      /not valid JSON/,
      { "config.json": "{,", "model.safetensors": {} },
    ],
    [
      "a config that is a list",
      "bad_weights",
      /JSON object/,
      { "config.json": "[]", "model.safetensors": {} },
    ],
    ["an index without a map", "bad_weights", /at "weight_map"/, { "config.json": "{}", [indexName]: {} }],
    ["a map to numbers", "bad_weights", /at "weight_map\.a"/, index({ a: 1 })],
    ["a missing shard", "not_found", /missing\.safetensors/, index({ a: "missing.safetensors" })],
    [
      "a tensor that its shard lacks",
      "bad_weights",
      /holds "b", but it does not/,
      { ...index({ b: "one.safetensors" }), "one.safetensors": { a: vector(1) } },
    ],
    ...[
      "../one.safetensors",
      "/etc/passwd",
      "a/../../b.safetensors",
      "..",
      "",
      "a\\b.safetensors",
      "C:/x.safetensors",
      "a\0b",
      "a//b",
      "./a",
    ].map((shard): [string, string, RegExp, Record<string, string | object>] => [
      `a shard at ${JSON.stringify(shard)}`,
      "bad_weights",
      /outside its folder/,
      index({ a: shard }),
    ]),
  ])("%s", async (_, code, message, files) => {
    await using folder = await component(files);
    const open = openCheckpoint(folder.path);
    await expect(open).rejects.toMatchObject({ name: "TamiasError", code });
    await expect(open).rejects.toThrow(message);
  });

  test("no folder at all", async () => {
    await expect(openCheckpoint("/there/is/nothing")).rejects.toMatchObject({ code: "not_found" });
  });
});

describe("Checkpoint", () => {
  const bytes = (shape: number[]): TensorData => ({
    dtype: "I8",
    shape,
    data: new Int8Array(shape.reduce((product, extent) => product * extent, 1)),
  });
  const scale = (shape: number[]): TensorData => ({
    dtype: "F32",
    shape,
    data: new Float32Array(shape.reduce((product, extent) => product * extent, 1)),
  });

  test("names what is missing or has another shape", async () => {
    await using folder = await component({ "config.json": "{}", "model.safetensors": { a: vector(1, 2) } });
    const checkpoint = await openCheckpoint(folder.path);
    expect(() => checkpoint.get("b")).toThrow('has no tensor "b"');
    expect(() => checkpoint.get("a", [2, 1])).toThrow("is [2], not [2, 1]");
  });

  test("finds the scale of 8-bit weights", async () => {
    await using folder = await component({
      "config.json": "{}",
      "model.safetensors": {
        "rows.weight": bytes([3, 4]),
        "rows.weight_scale": scale([3]),
        "column.weight": bytes([3, 4]),
        "column.weight_scale": scale([3, 1]),
        "one.weight": { ...bytes([3, 4]), dtype: "F8_E4M3" },
        "one.weight_scale": scale([]),
        "wide.weight": vector(1),
        "missing.weight": bytes([3, 4]),
        "wrong.weight": bytes([3, 4]),
        "wrong.weight_scale": scale([4]),
      },
    });
    const checkpoint = await openCheckpoint(folder.path);
    for (const name of ["rows", "column", "one"]) {
      expect(checkpoint.scaleOf(`${name}.weight`)?.name).toBe(`${name}.weight_scale`);
    }
    expect(checkpoint.scaleOf("wide.weight")).toBeUndefined();
    expect(() => checkpoint.scaleOf("missing.weight")).toThrow('no tensor "missing.weight_scale"');
    expect(() => checkpoint.scaleOf("wrong.weight")).toThrow("is F32 [4], not F32 [3]");
  });
});

test("parseWith names the file and the field", async () => {
  await using folder = await component({ "config.json": { blocks: [1, "two"] } });
  const path = join(folder.path, "config.json");
  const config = await readJsonObject(path);
  const schema = z.object({ blocks: z.array(z.number()) });
  expect(() => parseWith(schema, config, path)).toThrow(`${path} is not as expected at "blocks.1":`);
  expect(parseWith(z.object({ blocks: z.array(z.unknown()) }), config, path).blocks).toHaveLength(2);
});

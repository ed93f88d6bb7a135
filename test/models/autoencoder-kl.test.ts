import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AutoencoderKL } from "../../src/models/autoencoder-kl.ts";
import type { Ops } from "../../src/nn/index.ts";
import { gaussianNoise } from "../../src/samplers/noise.ts";
import { Checkpoint } from "../../src/weights/checkpoint.ts";
import { openCheckpoint } from "../../src/weights/diffusers-folder.ts";
import { readSafetensors, type TensorEntry } from "../../src/weights/safetensors.ts";
import { writeSafetensors } from "../../src/weights/write-safetensors.ts";
import { download, relativeError, tinyFlux, upload, withOps } from "./with-ops.ts";

const vae = await openCheckpoint(join(tinyFlux, "vae"));
const LATENT_CHANNELS = 16;

function altered(settings: Record<string, unknown>, more: ReadonlyMap<string, TensorEntry> = new Map()) {
  const tensors = new Map([...vae.names().map((name) => [name, vae.get(name)] as const), ...more]);
  return new Checkpoint(vae.folder, { ...vae.config, ...settings }, tensors);
}

function decode(ops: Ops, model: AutoencoderKL, shape: readonly number[], values: Float32Array) {
  using latents = upload(ops, shape, values);
  using image = model.decode(latents);
  return { shape: image.shape, dtype: image.dtype, values: download(ops, image) };
}

function encode(ops: Ops, model: AutoencoderKL, shape: readonly number[], values: Float32Array) {
  using image = upload(ops, shape, values);
  using mean = model.encode(image);
  return { shape: mean.shape, dtype: mean.dtype, values: download(ops, mean) };
}

function noise(shape: readonly number[]): Float32Array {
  return gaussianNoise(
    shape.reduce((product, size) => product * size, 1),
    1,
  );
}

test.each([
  [1, 1],
  [1, 7],
  [5, 3],
])("any size of latents can be decoded: %d x %d", (height, width) =>
  withOps((ops) => {
    using model = AutoencoderKL.load(ops, vae);
    const shape = [1, LATENT_CHANNELS, height, width];
    const picture = decode(ops, model, shape, noise(shape));
    expect(picture.shape).toEqual([1, 3, height * 8, width * 8]);
    expect(picture.dtype).toBe("f32");
    expect(picture.values.every(Number.isFinite)).toBe(true);
  }),
);

test("pictures of a batch do not see each other", () =>
  withOps((ops) => {
    using model = AutoencoderKL.load(ops, vae);
    const one = [1, LATENT_CHANNELS, 3, 2];
    const two = [2, LATENT_CHANNELS, 3, 2];
    const latents = noise(two);
    const half = latents.length / 2;
    const both = decode(ops, model, two, latents).values;
    const second = decode(ops, model, one, latents.slice(half)).values;
    expect(relativeError(both.slice(both.length / 2), second)).toBeLessThan(1e-5);

    const means = encode(ops, model, [2, 3, 24, 16], both);
    expect(means.shape).toEqual(two);
    const mean = encode(ops, model, [1, 3, 24, 16], both.slice(both.length / 2)).values;
    expect(relativeError(means.values.slice(half), mean)).toBeLessThan(1e-5);
  }));

test("quantisation layers are used where the configuration says so", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tamias-"));
  try {
    const path = join(folder, "quantisation.safetensors");
    await writeSafetensors(path, {
      "quant_conv.weight": scaledIdentity(2 * LATENT_CHANNELS, 2),
      "quant_conv.bias": zeros(2 * LATENT_CHANNELS),
      "post_quant_conv.weight": scaledIdentity(LATENT_CHANNELS, 0.5),
      "post_quant_conv.bias": zeros(LATENT_CHANNELS),
    });
    const { tensors } = await readSafetensors(path);
    await withOps((ops) => {
      using plain = AutoencoderKL.load(ops, vae);
      using quantised = AutoencoderKL.load(
        ops,
        altered({ use_quant_conv: true, use_post_quant_conv: true }, tensors),
      );
      const shape = [1, LATENT_CHANNELS, 2, 2];
      const latents = noise(shape);
      const expected = decode(ops, plain, shape, latents).values;
      const doubled = latents.map((value) => 2 * value);
      expect(relativeError(decode(ops, quantised, shape, doubled).values, expected)).toBeLessThan(1e-5);
      const mean = encode(ops, plain, [1, 3, 16, 16], expected).values.map((value) => 2 * value);
      expect(relativeError(encode(ops, quantised, [1, 3, 16, 16], expected).values, mean)).toBeLessThan(1e-5);
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("attention of the middle block can be left out", () =>
  withOps((ops) => {
    using model = AutoencoderKL.load(ops, altered({ mid_block_add_attention: false }));
    const shape = [1, LATENT_CHANNELS, 2, 3];
    expect(decode(ops, model, shape, noise(shape)).values.every(Number.isFinite)).toBe(true);
  }));

test("decodeScaled undoes scale and shift", () =>
  withOps((ops) => {
    using model = AutoencoderKL.load(ops, vae);
    const shape = [1, LATENT_CHANNELS, 2, 3];
    const plain = noise(shape);
    using scaled = upload(
      ops,
      shape,
      plain.map((value) => (value - 0.1159) * 0.3611),
    );
    using image = model.decodeScaled(scaled);
    expect(relativeError(download(ops, image), decode(ops, model, shape, plain).values)).toBeLessThan(1e-5);
  }));

test("a picture that is no multiple of the factor cannot be encoded", () =>
  withOps((ops) => {
    using model = AutoencoderKL.load(ops, vae);
    using picture = ops.memory.temporary([1, 3, 12, 16], "f32");
    expect(() => model.encode(picture)).toThrow("16 x 12 pixels");
  }));

test.each([
  [{ act_fn: "relu" }, "act_fn"],
  [{ latents_mean: [1, 2] }, "latents_mean"],
  [{ down_block_types: ["AttnDownEncoderBlock2D"] }, "down_block_types"],
  [{ block_out_channels: [8, 16] }, "blocks differ"],
  [{ layers_per_block: 2 }, "resnets.1"],
])("a configuration with %p is refused by name", (settings, name) =>
  withOps((ops) => {
    expect(() => AutoencoderKL.load(ops, altered(settings))).toThrow(name);
  }),
);

function scaledIdentity(size: number, scale: number) {
  const data = new Float32Array(size * size);
  for (let at = 0; at < size; at++) data[at * size + at] = scale;
  return { dtype: "F32", shape: [size, size, 1, 1], data } as const;
}

function zeros(size: number) {
  return { dtype: "F32", shape: [size], data: new Float32Array(size) } as const;
}

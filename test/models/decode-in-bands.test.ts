import { expect, test } from "bun:test";
import { join } from "node:path";
import type { Device, Stream } from "../../ffi/index.ts";
import { AutoencoderKL } from "../../src/models/autoencoder-kl.ts";
import { runInBands } from "../../src/models/autoencoder/bands.ts";
import { Feature, runStep } from "../../src/models/autoencoder/feature.ts";
import {
  configSchema,
  type DecoderStep,
  LayerLoader,
  loadDecoder,
} from "../../src/models/autoencoder/network.ts";
import { unpackLatents } from "../../src/models/flux/latents.ts";
import { checkpointParameters, type Ops, Parameters } from "../../src/nn/index.ts";
import { gaussianNoise } from "../../src/samplers/noise.ts";
import { openCheckpoint } from "../../src/weights/diffusers-folder.ts";
import { readTensorFloat32 } from "../../src/weights/read-tensor.ts";
import { readSafetensors } from "../../src/weights/safetensors.ts";
import { acornImage, download, relativeError, tinyFlux, upload, withOps } from "./with-ops.ts";

const acornVae = await openCheckpoint(join(acornImage, "vae"));
const tinyVae = await openCheckpoint(join(tinyFlux, "vae"));
const golden = (await readSafetensors(join(acornImage, "golden.safetensors"))).tensors;

/** The reference pipeline's last latents, which decode to a picture of 256 x 256 pixels. */
async function goldenLatents(ops: Ops, model: AutoencoderKL) {
  const entry = golden.get("pipeline.latents_steps")!;
  const [steps = 0, , tokens = 0, channels = 0] = entry.shape;
  const last = (await readTensorFloat32(entry)).slice((steps - 1) * tokens * channels);
  using packed = upload(ops, [1, tokens, channels], last);
  const side = Math.sqrt(tokens) * 2;
  const latents = ops.memory.own([1, model.latentChannels, side, side], "f32");
  unpackLatents(ops, packed, latents);
  return latents;
}

function decoded(
  ops: Ops,
  model: AutoencoderKL,
  latents: Awaited<ReturnType<typeof goldenLatents>>,
  maxBytes?: number,
) {
  using image = model.decodeScaled(latents, { maxBytes });
  return { shape: image.shape, values: download(ops, image) };
}

/** Each row's largest difference between two pictures [1, 3, height, width]. */
function differenceByRow(
  a: Float32Array,
  b: Float32Array,
  [, , height = 0, width = 0]: readonly number[],
): number[] {
  const rows = Array.from({ length: height }, () => 0);
  a.forEach((value, at) => {
    const row = Math.floor(at / width) % height;
    rows[row] = Math.max(rows[row]!, Math.abs(value - b[at]!));
  });
  return rows;
}

test(
  "a picture decoded in bands is the reference's, without a seam",
  () =>
    withOps(async (ops) => {
      using model = AutoencoderKL.load(ops, acornVae);
      using latents = await goldenLatents(ops, model);
      const whole = decoded(ops, model, latents);
      const reference = await readTensorFloat32(golden.get("pipeline.image")!);
      const smallest = model.smallestDecodeBytes(256, 256);
      const all = model.decodeBytes(256, 256);
      expect(smallest).toBeLessThan(all / 3);
      for (const maxBytes of [all * 0.75, all * 0.5, smallest].map(Math.ceil)) {
        const banded = decoded(ops, model, latents, maxBytes);
        expect(banded.shape).toEqual([1, 3, 256, 256]);
        expect(banded.values).not.toEqual(whole.values);
        expect(relativeError(banded.values, whole.values)).toBeLessThan(2e-6);
        // No row, and so no border of bands, stands out: all differ by rounding alone.
        for (const difference of differenceByRow(banded.values, whole.values, banded.shape))
          expect(difference).toBeLessThan(1e-5);
        const wholeError = relativeError(whole.values, reference);
        expect(relativeError(banded.values, reference)).toBeLessThan(wholeError + 1e-6);
      }
    }),
  120_000,
);

test.each([2, 3, 8])("any stretch of steps can run in bands of %d rows", (bandRows) =>
  withOps((ops) => {
    using parameters = new Parameters(ops, checkpointParameters(tinyVae));
    const config = configSchema.parse(tinyVae.config);
    const { steps } = loadDecoder(new LayerLoader(parameters, config.norm_num_groups), config);
    const stretches = [steps.slice(0, 1), steps.slice(2, 3), steps.slice(1, 7), steps.slice(7), steps];
    for (const stretch of stretches)
      for (const [rows, columns] of [
        [1, 1],
        [1, 9],
        [13, 3],
      ] as const) {
        const channels = inputChannels(stretch[0]!);
        const noise = gaussianNoise(2 * channels * rows * columns, rows);
        const input = () => new Feature(ops, upload(ops, [2, channels, rows, columns], noise), true);
        const whole = stretch.reduce(runStep, input());
        const banded = runInBands(input(), stretch, bandRows);
        expect(banded.tensor.shape).toEqual(whole.tensor.shape);
        expect(relativeError(download(ops, banded.tensor), download(ops, whole.tensor))).toBeLessThan(1e-5);
        whole.free();
        banded.free();
      }
  }),
);

function inputChannels(step: DecoderStep): number {
  return (step.kind === "resnet" ? step.resnet.conv1 : step.convolution).weight.shape[1]!;
}

test(
  "what decoding takes is known before it starts, whole and in bands",
  () =>
    withOps((ops) => {
      using model = AutoencoderKL.load(ops, acornVae);
      for (const [height, width] of [
        [128, 192],
        [256, 256],
        [320, 96],
      ] as const) {
        const shape = [1, model.latentChannels, height / model.factor, width / model.factor];
        using latents = ops.memory.own(shape, "f32");
        ops.stream.write(latents, gaussianNoise(latents.elements, 1));
        const whole = model.decodeBytes(height, width);
        const took = peakBytes(ops, () => model.decodeScaled(latents)[Symbol.dispose]());
        expect(took).toBeLessThanOrEqual(whole);
        expect(took).toBeGreaterThan(0.85 * whole);
        const smallest = model.smallestDecodeBytes(height, width);
        const inBands = peakBytes(ops, () =>
          model.decodeScaled(latents, { maxBytes: smallest })[Symbol.dispose](),
        );
        expect(inBands).toBeLessThanOrEqual(smallest);
        expect(inBands).toBeGreaterThan(0.8 * smallest);
      }
    }),
  120_000,
);

test("a limit that is too low is refused before any work, naming what is needed", () =>
  withOps((ops) => {
    using model = AutoencoderKL.load(ops, tinyVae);
    const shape = [1, model.latentChannels, 8, 8];
    using latents = ops.memory.own(shape, "f32");
    const held = ops.memory.bytes;
    const smallest = model.smallestDecodeBytes(64, 64);
    expect(() => model.decode(latents, { maxBytes: 1000 })).toThrow(
      `64 x 64 pixels takes at least ${smallest} bytes`,
    );
    expect(ops.memory.bytes).toBe(held);
  }));

/** Most bytes of device memory taken during some work, beyond what was held before. */
function peakBytes(ops: Ops, work: () => void): number {
  const { stream, memory } = ops;
  const { device } = stream;
  memory.trim();
  const before = device.info().bytesAllocated;
  let most = before;
  const watched = <Taker extends Device | Stream, Name extends keyof Taker>(taker: Taker, name: Name) => {
    const original = taker[name] as (bytes: number) => unknown;
    const watch = (bytes: number) => {
      const taken = original.call(taker, bytes);
      most = Math.max(most, device.info().bytesAllocated);
      return taken;
    };
    Object.assign(taker, { [name]: watch });
    return { [Symbol.dispose]: () => Object.assign(taker, { [name]: original }) };
  };
  using undo = new DisposableStack();
  undo.use(watched(device, "allocate"));
  undo.use(watched(stream, "reserve"));
  work();
  return most - before;
}

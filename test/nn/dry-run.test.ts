import { expect, test } from "bun:test";
import { join } from "node:path";
import { ClipTextModel } from "../../src/models/text/clip.ts";
import { T5Encoder } from "../../src/models/text/t5.ts";
import { FluxTransformer } from "../../src/models/flux/transformer.ts";
import { AutoencoderKL } from "../../src/models/autoencoder-kl.ts";
import { DryRun, type Ops } from "../../src/nn/index.ts";
import { openCheckpoint } from "../../src/weights/diffusers-folder.ts";
import { acornImage, withOps } from "../models/with-ops.ts";

const MEGABYTE = 2 ** 20;
/** Small workspaces are not told apart: each counts as so much. */
const WORKSPACE = 2 * MEGABYTE;

function held(ops: Ops): number {
  ops.memory.trim();
  return ops.stream.device.info().bytesAllocated;
}

test.each([
  ["text_encoder", ClipTextModel],
  ["text_encoder_2", T5Encoder],
  ["transformer", FluxTransformer],
  ["vae", AutoencoderKL],
] as const)("the bytes of %s are known before it is loaded", async (name, part) => {
  const checkpoint = await openCheckpoint(join(acornImage, name));
  await withOps((ops) => {
    const before = held(ops);
    using dry = new DryRun(ops.stream.device);
    using counted = part.load(dry.ops, checkpoint);
    const loading = dry.memory.device.mostBytes;
    dry.ops.memory.trim();
    expect(held(ops)).toBe(before);
    using loaded = part.load(ops, checkpoint);
    const grown = ops.stream.device.info().bytesAllocated - before;
    expect(dry.bytes).toBe(loaded.parameterBytes);
    expect(counted.parameterBytes).toBe(loaded.parameterBytes);
    expect(grown).toBeLessThanOrEqual(loading);
    expect(held(ops) - before).toBe(dry.bytes);
    expect(loading - dry.bytes).toBeLessThan(20 * MEGABYTE);
  });
});

test("what encoding takes is known before the encoder is loaded", async () => {
  const checkpoint = await openCheckpoint(join(acornImage, "text_encoder_2"));
  await withOps((ops) => {
    const prompt = [new Int32Array(512).fill(7)];
    using dry = new DryRun(ops.stream.device);
    using counted = T5Encoder.load(dry.ops, checkpoint);
    const peak = dry.peakOf(() => counted.encode(prompt)[Symbol.dispose]());
    using t5 = T5Encoder.load(ops, checkpoint);
    const before = held(ops);
    using states = t5.encode(prompt);
    const took = ops.stream.device.info().bytesAllocated - before;
    expect(states.bytes).toBeGreaterThan(0);
    expect(took).toBeLessThanOrEqual(peak);
    expect(took).toBeGreaterThan(0.85 * (peak - WORKSPACE));
    expect(dry.peakOf(() => {})).toBe(0);
  });
});

test("a dry run touches neither the device nor its memory", () =>
  withOps((ops) => {
    const { device } = ops.stream;
    const before = device.info().bytesAllocated;
    using run = new DryRun(device);
    const peak = run.peakOf(() => {
      using a = run.ops.memory.temporary([1024, MEGABYTE], "f32");
      using b = run.ops.memory.persistent([1024, MEGABYTE], "f32");
      run.ops.copy(a, b);
      run.ops.stream.synchronize();
    });
    expect(peak).toBeGreaterThanOrEqual(8192 * MEGABYTE);
    expect(peak).toBeLessThan(8192 * MEGABYTE + 2 * WORKSPACE);
    expect(device.info().bytesAllocated).toBe(before);
  }));

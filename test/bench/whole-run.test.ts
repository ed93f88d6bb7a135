import { expect, test } from "bun:test";
import { type FluxShaped, resized } from "../../src/bench/models/shapes.ts";
import { runWhole } from "../../src/bench/models/whole-run.ts";
import { RandomTensors } from "../../src/bench/random-tensors.ts";
import { withOps } from "../models/with-ops.ts";

const shape: FluxShaped = {
  kind: "flux-shaped",
  title: "small",
  doubleBlocks: 2,
  singleBlocks: 4,
  textTokens: 32,
  imageTokens: 1000,
  inChannels: 16,
  heads: 2,
  headDim: 64,
  fits: true,
  keyDensity: 0.1,
  policy: "exact",
};

test("a whole network runs dense, refresh and deltas within the memory it was planned for", () =>
  withOps(async (ops) => {
    using random = new RandomTensors(ops, 1);
    const free = await runWhole(ops, random, shape, {});
    expect(free.places).toEqual({ device: 6, host: 0, none: 0 });
    expect(free.steps.map(({ action }) => action)).toEqual(["dense", "refresh", "delta", "delta"]);
    // Text queries are dense: one group of nine.
    expect(free.steps[2]!.attentionDensity).toBeCloseTo(1 / 9 + (8 / 9) * 0.1, 1);
    expect(free.bytes.held).toBeLessThanOrEqual(free.bytes.allowed);

    const memory = Math.ceil(free.bytes.held / 0.96) - free.needs.attentionOutputs / 2;
    const tight = await runWhole(ops, random, shape, { memory });
    expect(tight.places.host).toBeGreaterThan(2);
    expect(tight.bytes.held).toBeLessThanOrEqual(memory);
    expect(tight.bytes.heldHost).toBe(tight.bytes.plannedHost);
    // Each layer's cache once; what is still on the device, or fetched a step ahead, is not moved again.
    const one = free.needs.attentionOutputs / 6;
    for (const { transfers } of tight.steps.slice(2)) {
      expect(transfers!.bytes).toBeLessThanOrEqual(tight.places.host * one);
      expect(transfers!.bytes).toBeGreaterThanOrEqual((tight.places.host - 2) * one);
    }
  }));

test("a run that does not fit is refused, by what is lacking", () =>
  withOps(async (ops) => {
    using random = new RandomTensors(ops, 1);
    const { bytes, needs } = await runWhole(ops, random, shape, {});
    const memory = Math.ceil(bytes.held / 0.96) - needs.attentionOutputs / 2;
    expect(runWhole(ops, random, shape, { memory, hostMemory: 0 })).rejects.toMatchObject({
      code: "out_of_memory",
      message: expect.stringMatching(/6 layers of 1032 tokens .* would have none/),
    });
  }));

test("another size keeps the kinds of block in proportion", () => {
  expect(resized(shape, { layers: 3, tokens: 132 })).toMatchObject({
    doubleBlocks: 1,
    singleBlocks: 2,
    imageTokens: 100,
  });
  expect(() => resized(shape, { tokens: 32 })).toThrow(/text tokens/);
});

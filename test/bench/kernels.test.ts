import { afterAll, beforeAll, expect, test } from "bun:test";
import { Device, type Stream } from "../../ffi/index.ts";
import { benchAttention } from "../../src/bench/kernels/attention.ts";
import { benchKernels } from "../../src/bench/kernels/index.ts";
import { benchMlp } from "../../src/bench/kernels/mlp.ts";
import { RandomTensors } from "../../src/bench/random-tensors.ts";
import { Ops } from "../../src/nn/index.ts";

let device: Device;
let stream: Stream;
let ops: Ops;
let random: RandomTensors;
beforeAll(async () => {
  device = await Device.open({ backend: "cpu", threads: 2 });
  stream = device.createStream();
  ops = new Ops(stream);
  random = new RandomTensors(ops, 3);
});
afterAll(() => {
  for (const part of [random, ops, stream, device]) part[Symbol.dispose]();
});

test("attention's rows are right, and each sparse row knows its dense rival", () => {
  const rows = benchAttention(ops, random, {
    name: "small",
    heads: 2,
    tokens: 333,
    headDim: 64,
    sparsities: [0.8],
  });
  const checked = rows.filter(({ error }) => error !== undefined);
  expect(checked.map(({ kernel }) => kernel)).toEqual([
    "attention, dense",
    "attention + column sums",
    "attention, columns",
  ]);
  for (const { error } of checked) expect(error).toBeLessThan(1e-5);
  const sparse = rows.find(({ kernel }) => kernel === "attention, columns")!;
  expect(sparse.density).toBeCloseTo(0.2, 2);
  expect(sparse.efficiency).toBeCloseTo((sparse.denseMilliseconds! / sparse.milliseconds) * sparse.density);
});

test("the MLP's rows are right, deltas included", () => {
  const rows = benchMlp(ops, random, {
    name: "small",
    tokens: 200,
    width: 64,
    hidden: 256,
    sparsities: [0.7],
  });
  const checked = rows.filter(({ error }) => error !== undefined);
  expect(checked.map(({ kernel }) => kernel)).toEqual(["MLP, dense", "MLP, refresh", "MLP, delta pair"]);
  for (const { error } of checked) expect(error).toBeLessThan(1e-4);
});

test("random tensors differ from row to row and reach the end", () => {
  using large = ops.memory.persistent([1100, 1000]);
  random.normal(large);
  const values = stream.read(large, new Float32Array(large.elements));
  expect(values.subarray(0, 1000)).not.toEqual(values.subarray(1000, 2000));
  const tail = values.subarray(-1000);
  expect(Math.hypot(...tail) / Math.sqrt(1000)).toBeCloseTo(1, 0);
});

test("an unknown set of shapes is named, with the known ones", () => {
  expect(benchKernels({ device: "cpu" }, ["flix"], () => {})).rejects.toThrow('no set of shapes "flix"');
});

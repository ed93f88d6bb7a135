import { Device, type DeviceTensor } from "../../ffi/index.ts";
import { AttentionCache } from "../delta/attention-cache.ts";
import type { Costs } from "../delta/cost-model.ts";
import { MaskCounts } from "../delta/counts.ts";
import { groupCount, type MaskLayout } from "../delta/mask.ts";
import { InlineMaskWork } from "../delta/mask-work.ts";
import { MlpCache } from "../delta/mlp-cache.ts";
import { Mlp, Ops, Parameters } from "../nn/index.ts";
import type { OpenOptions } from "../pipeline/open.ts";
import { randomParameters } from "./models/random-parameters.ts";
import { RandomTensors } from "./random-tensors.ts";
import { timeRivals } from "./timing.ts";

/** A layer on which deltas are timed against dense. */
interface LayerShape {
  readonly tokens: number;
  readonly heads: number;
  readonly headDim: number;
  readonly hidden: number;
}

/** A layer whose products take the time, and one whose overhead does; the embedded model's, and FLUX's on a GPU. */
const shapes = {
  cpu: {
    large: { tokens: 4224, heads: 3, headDim: 128, hidden: 1536 },
    small: { tokens: 384, heads: 3, headDim: 128, hidden: 1536 },
  },
  cuda: {
    large: { tokens: 4608, heads: 24, headDim: 128, hidden: 12_288 },
    small: { tokens: 512, heads: 24, headDim: 128, hidden: 12_288 },
  },
} as const satisfies Record<string, Record<"large" | "small", LayerShape>>;

/** Densities on either side of most policies', below the density at which a delta costs what dense does. */
const DENSITIES = [0.15, 0.5] as const;

/** Times deltas as they run in a network, and fits the cost model's constants to them. */
export async function benchCosts({
  device: backend = "auto",
  threads,
}: Pick<OpenOptions, "device" | "threads">): Promise<Costs> {
  using device = await Device.open({ backend, threads });
  using stream = device.createStream();
  using ops = new Ops(stream);
  using random = new RandomTensors(ops, 1);
  const { large, small } = shapes[device.backend];
  return {
    device: device.info().name,
    attention: fitAttention(timeAttention(ops, random, large), timeAttention(ops, random, small)),
    mlp: fitMlp(timeMlp(ops, random, large), timeMlp(ops, random, small), device.info().tokenGroup),
  };
}

/** Seconds of a module run dense, of its operations, and of deltas at `DENSITIES`. */
export interface DeltaTimes {
  readonly operations: number;
  readonly dense: number;
  readonly deltas: readonly [number, number];
}

/**
 * A key's gathering is the slope between two densities or, where that is more, a whole delta at the higher one: what a
 * delta takes whatever its density and grows with the sequence counts as part of its keys.
 */
export function fitAttention(large: DeltaTimes, small: DeltaTimes): Costs["attention"] {
  const gather = Math.max(slopeOf(large), large.deltas[1] / (DENSITIES[1] * large.dense));
  return {
    gather: rounded(gather),
    overheadOperations: rounded(overheadOf(small, (density) => gather * density)),
  };
}

/** @param group tokens that share a mask */
export function fitMlp(large: DeltaTimes, small: DeltaTimes, group: number): Costs["mlp"] {
  const gather = slopeOf(large);
  const means = 0.5 / group;
  const selection = Math.max(0, large.deltas[0] / large.dense - gather * DENSITIES[0] - means);
  return {
    gather: rounded(gather),
    selection: rounded(selection),
    overheadOperations: rounded(overheadOf(small, (density) => gather * density + selection + means)),
  };
}

/** What one more column costs, relative to a column of dense. */
function slopeOf({ dense, deltas: [sparse, fuller] }: DeltaTimes): number {
  return Math.max(0, (fuller - sparse) / ((DENSITIES[1] - DENSITIES[0]) * dense));
}

/** What a delta takes beyond its share of dense, in operations of dense at the speed that dense has there. */
function overheadOf({ dense, deltas, operations }: DeltaTimes, share: (density: number) => number): number {
  const seconds = DENSITIES.map((density, at) => deltas[at]! - share(density) * dense);
  return Math.max(0, ...seconds.map((beyond) => (beyond / dense) * operations));
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

function timeAttention(ops: Ops, random: RandomTensors, shape: LayerShape): DeltaTimes {
  const { tokens, heads, headDim } = shape;
  const scale = headDim ** -0.5;
  using scratch = new DisposableStack();
  const rows = (): DeviceTensor =>
    random
      .normal(scratch.use(ops.memory.persistent([1, tokens, heads * headDim])))
      .reshape(1, tokens, heads, headDim)
      .permute(0, 2, 1, 3);
  const qkv = { q: rows(), k: rows(), v: rows() };
  const out = rows();
  const group = ops.stream.device.info().queryGroup;
  const deltas = DENSITIES.map((density) => {
    const mask = maskLayout({ batch: 1, lists: heads, rows: tokens, group, columns: tokens }, density);
    const counts = scratch.use(new MaskCounts(ops, heads * groupCount(mask.shape)));
    const layout = {
      from: 0,
      to: heads,
      mask,
      headDim,
      rule: "control",
      keepsEarlier: false,
      activationType: ops.activationType,
    } as const;
    const cache = scratch.use(new AttentionCache(ops, new InlineMaskWork(ops), counts, layout, {}));
    const settings = {
      select: { kind: "topK", density },
      cache: { rule: "control", beta: 1 },
      forecast: 0,
    } as const;
    cache.refresh(qkv, scale, 1, out, settings);
    return () => cache.delta(qkv, scale, 1, out, settings);
  });
  const [dense = 0, sparse = 0, fuller = 0] = timeRivals(ops.stream, [
    () => ops.attention(qkv, out, { scale }),
    ...deltas,
  ]);
  return { operations: 4 * heads * tokens * tokens * headDim, dense, deltas: [sparse, fuller] };
}

function timeMlp(
  ops: Ops,
  random: RandomTensors,
  { tokens, heads, headDim, hidden }: LayerShape,
): DeltaTimes {
  const width = heads * headDim;
  using scratch = new DisposableStack();
  const parameters = scratch.use(new Parameters(ops, randomParameters(random)));
  const fc1 = parameters.linear("fc1", width, hidden);
  const [weight] = parameters.weightColumns("fc2", width, [{ columns: hidden, isTransposed: true }]);
  const mlp = new Mlp(parameters, fc1, { weight: weight!, bias: null }, "geluTanh");
  const x = random.normal(scratch.use(ops.memory.persistent([1, tokens, width])));
  const out = scratch.use(ops.memory.persistent([1, tokens, width]));
  const group = ops.stream.device.info().tokenGroup;
  const deltas = DENSITIES.map((density) => {
    const mask = maskLayout({ batch: 1, lists: 1, rows: tokens, group, columns: hidden }, density);
    const counts = scratch.use(new MaskCounts(ops, groupCount(mask.shape)));
    const layout = { mask, outputs: width, choosesAhead: false, activationType: ops.activationType };
    const cache = scratch.use(new MlpCache(ops, new InlineMaskWork(ops), counts, layout, {}));
    const choice = { select: { kind: "topK", density } as const, draw: () => undefined };
    cache.refresh(x, mlp, out, choice);
    return () => cache.delta(x, mlp, out, choice);
  });
  const [dense = 0, sparse = 0, fuller = 0] = timeRivals(ops.stream, [
    () => mlp.dense(ops, x, out),
    ...deltas,
  ]);
  return { operations: 4 * tokens * width * hidden, dense, deltas: [sparse, fuller] };
}

function maskLayout(shape: MaskLayout["shape"], density: number): MaskLayout {
  const capacity = Math.ceil(density * shape.columns);
  return { shape, capacity, hasAlways: false, hasDenseGroups: false };
}

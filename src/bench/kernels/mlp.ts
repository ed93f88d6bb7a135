import type { DeviceTensor } from "../../../ffi/index.ts";
import { hostValues, type Ops, relativeError } from "../../nn/index.ts";
import type { RandomTensors } from "../random-tensors.ts";
import { timeRivals } from "../timing.ts";
import { type KernelRow, row } from "./row.ts";
import type { MlpShape } from "./shapes.ts";

/** Tokens that are computed again on the host. */
const SAMPLED_TOKENS = 4;

/** The dense MLP, its refresh, and deltas of chosen neurons, with tanh GELU; one list a token group. */
export function benchMlp(ops: Ops, random: RandomTensors, shape: MlpShape): KernelRow[] {
  const { tokens, width, hidden } = shape;
  const group = ops.stream.device.info().tokenGroup;
  const groups = Math.ceil(tokens / group);
  using scratch = new DisposableStack();
  const tensor = (sizes: number[], dtype = ops.activationType) =>
    scratch.use(ops.memory.persistent(sizes, dtype));
  const x = random.normal(tensor([1, tokens, width]));
  const w1 = random.normal(tensor([hidden, width]), width ** -0.5);
  const b1 = random.normal(tensor([hidden]), 0.1);
  const w2 = random.normal(tensor([width, hidden]), hidden ** -0.5);
  const b2 = random.normal(tensor([width]), 0.1);
  const w2t = tensor([hidden, width]);
  ops.copy(w2.permute(1, 0), w2t);
  const fc1 = { weight: w1, bias: b1 };
  const slabs = tensor([1, groups, hidden, group]);
  const means = tensor([1, groups, hidden], "f32");
  const cached = tensor([1, tokens, width], "f32");

  const flops = 4 * tokens * hidden * width;
  const table: KernelRow[] = [];
  // Released before the slabs' rivals run: together they are large.
  const denseSeconds = (() => {
    using inner = ops.memory.persistent([1, tokens, hidden]);
    using out = ops.memory.persistent([1, tokens, width]);
    const dense = () => {
      ops.linear(x, fc1, inner, "geluTanh");
      ops.linear(inner, { weight: w2, bias: b2 }, out);
    };
    const [seconds = 0] = timeRivals(ops.stream, [dense]);
    table.push(
      row("MLP, dense", shape.name, { seconds, flops, error: errorOfRows(ops, x, w1, b1, w2, b2, out) }),
    );
    return seconds;
  })();
  const refresh = () => {
    ops.mlpRefreshFc1(x, fc1, "geluTanh", slabs, means);
    ops.mlpRefreshFc2(slabs, w2t, b2, cached);
  };
  const [refreshSeconds = 0] = timeRivals(ops.stream, [refresh]);
  table.push(
    row("MLP, refresh", shape.name, {
      seconds: refreshSeconds,
      denseSeconds,
      flops,
      error: errorOfRows(ops, x, w1, b1, w2, b2, cached),
    }),
  );

  using scores = ops.memory.persistent([1, 1, groups, hidden], "f32");
  random.scores(scores);
  for (const sparsity of shape.sparsities) {
    const k = Math.round((1 - sparsity) * hidden);
    using indices = ops.memory.persistent([1, 1, groups, k], "u16");
    using counts = ops.memory.persistent([1, 1, groups], "i32");
    using delta = ops.memory.persistent([1, groups, k, group]);
    const mask = { indices, counts };
    const select = () => ops.selectTopK(scores, k, {}, mask);
    const first = () => ops.mlpDeltaFc1(x, fc1, "geluTanh", mask, slabs, delta);
    const second = () => ops.mlpDeltaFc2(delta, mask, w2t, cached);
    select();
    const both = () => {
      first();
      second();
    };
    const label = `${shape.name}, ${(sparsity * 100).toFixed(0)} % sparse`;
    const density = k / hidden;
    const [pair = 0, firstSeconds = 0, secondSeconds = 0, selectSeconds = 0] = timeRivals(ops.stream, [
      both,
      first,
      second,
      select,
    ]);
    // The same tokens again change nothing; tokens that moved by a step leave the right output for chosen neurons.
    table.push(
      row("MLP, delta pair", label, {
        density,
        seconds: pair,
        denseSeconds,
        flops: flops * density,
        error: errorOfDelta(ops, { x, w1, b1, w2t, slabs, cached, group, mask, delta }),
      }),
      row("MLP, delta fc1", label, { density, seconds: firstSeconds, flops: (flops / 2) * density }),
      row("MLP, delta fc2", label, {
        density,
        seconds: secondSeconds,
        flops: (flops / 2) * density,
      }),
      row("choosing neurons, exact top-k", label, {
        density,
        seconds: selectSeconds,
        bytes: 4 * scores.elements,
      }),
    );
  }
  return table;
}

function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044_715 * x ** 3)));
}

function dot(a: Float32Array, aFrom: number, b: Float32Array, bFrom: number, length: number): number {
  let sum = 0;
  for (let at = 0; at < length; at++) sum += a[aFrom + at]! * b[bFrom + at]!;
  return sum;
}

function sampledTokens(tokens: number): number[] {
  return Array.from({ length: SAMPLED_TOKENS }, (_, at) =>
    Math.round((at / (SAMPLED_TOKENS - 1)) * (tokens - 1)),
  );
}

/** Activations of one token, [hidden]. */
function activationsOf(token: Float32Array, w1: Float32Array, b1: Float32Array): Float32Array {
  return b1.map((bias, neuron) => gelu(bias + dot(w1, neuron * token.length, token, 0, token.length)));
}

function errorOfRows(
  ops: Ops,
  x: DeviceTensor,
  w1: DeviceTensor,
  b1: DeviceTensor,
  w2: DeviceTensor,
  b2: DeviceTensor,
  out: DeviceTensor,
): number {
  const [first, second] = [hostValues(ops, w1), hostValues(ops, w2)];
  const [firstBias, secondBias] = [hostValues(ops, b1), hostValues(ops, b2)];
  const hidden = firstBias.length;
  const ours: number[] = [];
  const reference: number[] = [];
  for (const token of sampledTokens(x.shape[1] ?? 0)) {
    const vector = (tensor: DeviceTensor) => hostValues(ops, tensor.select(0, 0).select(0, token));
    const activations = activationsOf(vector(x), first, firstBias);
    ours.push(...vector(out));
    secondBias.forEach((bias, at) => {
      reference.push(bias + dot(second, at * hidden, activations, 0, hidden));
    });
  }
  return relativeError(ours, reference);
}

/** Runs one delta on tokens that changed and compares the change of the output with float64. */
function errorOfDelta(
  ops: Ops,
  {
    x,
    w1,
    b1,
    w2t,
    slabs,
    cached,
    group,
    mask,
    delta,
  }: {
    x: DeviceTensor;
    w1: DeviceTensor;
    b1: DeviceTensor;
    w2t: DeviceTensor;
    slabs: DeviceTensor;
    cached: DeviceTensor;
    group: number;
    mask: { indices: DeviceTensor; counts: DeviceTensor };
    delta: DeviceTensor;
  },
): number {
  const [, tokens = 0, width = 0] = x.shape;
  const places = sampledTokens(tokens);
  const vector = (tensor: DeviceTensor, token: number) =>
    hostValues(ops, tensor.select(0, 0).select(0, token));
  const slabColumn = (token: number) =>
    hostValues(
      ops,
      slabs
        .select(0, 0)
        .select(0, Math.floor(token / group))
        .select(1, token % group),
    );
  const before = places.map((token) => ({ out: vector(cached, token), activations: slabColumn(token) }));
  ops.combine(0.9, x, 0, x, x);
  ops.mlpDeltaFc1(x, { weight: w1, bias: b1 }, "geluTanh", mask, slabs, delta);
  ops.mlpDeltaFc2(delta, mask, w2t, cached);
  const first = hostValues(ops, w1);
  const second = hostValues(ops, w2t);
  const bias = hostValues(ops, b1);
  const capacity = mask.indices.shape[3] ?? 0;
  const counts = ops.stream.read(mask.counts, new Int32Array(mask.counts.elements));
  const lists = ops.stream.read(mask.indices, new Uint16Array(mask.indices.elements));
  const ours: number[] = [];
  const reference: number[] = [];
  places.forEach((token, at) => {
    const tokenRow = vector(x, token);
    const list = Math.floor(token / group);
    const change = Array.from({ length: width }, () => 0);
    for (const neuron of lists.subarray(list * capacity, list * capacity + counts[list]!)) {
      const now = gelu(bias[neuron]! + dot(first, neuron * width, tokenRow, 0, width));
      const moved = now - before[at]!.activations[neuron]!;
      for (let column = 0; column < width; column++)
        change[column]! += moved * second[neuron * width + column]!;
    }
    const after = vector(cached, token);
    ours.push(...after.map((value, column) => value - before[at]!.out[column]!));
    reference.push(...change);
  });
  return relativeError(ours, reference);
}

import type { DeviceTensor } from "../../../ffi/index.ts";
import { hostValues, type Ops, type QueryKeyValue, relativeError } from "../../nn/index.ts";
import type { RandomTensors } from "../random-tensors.ts";
import { timeRivals } from "../timing.ts";
import { type KernelRow, row } from "./row.ts";
import type { AttentionShape } from "./shapes.ts";

const ALL_COLUMNS = -1;
/** Queries that are computed again on the host, of each of two heads. */
const SAMPLED_QUERIES = 3;

/**
 * Dense attention, the same with column sums, choosing columns from the sums, and column-sparse attention with the
 * difference cache, at one shape. One list for each head and group of the device's preferred size, chosen by random
 * scores; also with counts that differ by up to half between groups.
 */
export function benchAttention(ops: Ops, random: RandomTensors, shape: AttentionShape): KernelRow[] {
  const { heads, tokens, headDim } = shape;
  const group = ops.stream.device.info().queryGroup;
  const groups = Math.ceil(tokens / group);
  const scale = headDim ** -0.5;
  using scratch = new DisposableStack();
  const keep = (tensor: DeviceTensor) => scratch.use(tensor);
  // As a network has them: heads side by side in a token's row.
  const rows = () => keep(ops.memory.persistent([1, tokens, heads * headDim]));
  const byHead = (tensor: DeviceTensor) => tensor.reshape(1, tokens, heads, headDim).permute(0, 2, 1, 3);
  const qkv: QueryKeyValue = {
    q: byHead(random.normal(rows())),
    k: byHead(random.normal(rows())),
    v: byHead(random.normal(rows())),
  };
  // As small as the outputs it is added to, so that neither hides an error of the other.
  const cache = byHead(random.normal(rows(), 0.03));
  const out = byHead(rows());
  const lse = keep(ops.memory.persistent([1, heads, tokens], "f32"));
  const scores = keep(ops.memory.persistent([1, heads, groups, tokens], "f32"));

  const flops = 4 * heads * tokens * tokens * headDim;
  const dense = () => ops.attention(qkv, out, { scale });
  const sums = () =>
    ops.attentionColumnSums(qkv, { scale, group, previousLse: lse, out, lse, columnSums: scores });
  ops.attentionColumnSums(qkv, { scale, group, previousLse: null, out, lse, columnSums: scores });
  const [denseSeconds = 0, sumSeconds = 0] = timeRivals(ops.stream, [dense, sums]);
  const table: KernelRow[] = [];
  dense();
  const everyKey = Array.from({ length: tokens }, (_, key) => key);
  table.push(
    row("attention, dense", shape.name, {
      seconds: denseSeconds,
      flops,
      error: errorOfRows(ops, qkv, scale, out, (_head, _query) => everyKey),
    }),
  );
  sums();
  table.push(
    row("attention + column sums", shape.name, {
      seconds: sumSeconds,
      denseSeconds,
      flops,
      error: errorOfSums(ops, qkv, scale, group, scores),
    }),
  );

  random.scores(scores);
  for (const sparsity of shape.sparsities) {
    const k = Math.round((1 - sparsity) * tokens);
    const density = k / tokens;
    // Room for uneven counts of the same mean.
    const capacity = Math.min(tokens, Math.floor(1.5 * k));
    using indices = ops.memory.persistent([1, heads, groups, capacity], tokens <= 65_536 ? "u16" : "i32");
    using counts = ops.memory.persistent([1, heads, groups], "i32");
    const mask = { indices, counts };
    const select = () => ops.selectTopK(scores, k, {}, mask);
    const columns = () =>
      ops.attentionColumns(qkv, { scale, group, mask, rule: "control", beta: 1, cache, out });
    select();
    const [selectSeconds = 0, seconds = 0, rivalSeconds = 0] =
      denseSeconds > 0.05
        ? [...timeRivals(ops.stream, [select, columns]), denseSeconds]
        : timeRivals(ops.stream, [select, columns, dense]);
    columns();
    const label = `${shape.name}, ${(sparsity * 100).toFixed(1)} % sparse`;
    table.push(
      row("attention, columns", label, {
        density,
        seconds,
        denseSeconds: rivalSeconds,
        flops: flops * density,
        error: errorOfRows(
          ops,
          qkv,
          scale,
          out,
          (head, query) => chosenKeys(ops, mask, head, Math.floor(query / group)),
          cache,
        ),
      }),
      row("choosing columns, exact top-k", label, {
        density,
        seconds: selectSeconds,
        bytes: 4 * scores.elements + indices.elements * (tokens <= 65_536 ? 2 : 4),
      }),
    );

    ops.selectTopK(scores, capacity, {}, mask);
    const uneven = Int32Array.from({ length: counts.elements }, (_, list) =>
      Math.round(k * (0.5 + ((list * 0.618_034) % 1))),
    );
    ops.stream.write(counts, uneven);
    const mean = uneven.reduce((sum, count) => sum + count, 0) / uneven.length / tokens;
    const [unevenSeconds = 0] = timeRivals(ops.stream, [columns]);
    table.push(
      row("attention, uneven counts", label, {
        density: mean,
        seconds: unevenSeconds,
        denseSeconds: rivalSeconds,
        flops: flops * mean,
      }),
    );
  }
  return table;
}

/** Keys one group of one head has chosen. */
function chosenKeys(
  ops: Ops,
  { indices, counts }: { indices: DeviceTensor; counts: DeviceTensor },
  head: number,
  group: number,
): ArrayLike<number> {
  const count = ops.stream.read(counts, new Int32Array(counts.elements))[
    head * (counts.shape[2] ?? 0) + group
  ]!;
  const list = indices.select(0, 0).select(0, head).select(0, group);
  const values = ops.stream.read(
    list,
    list.dtype === "u16" ? new Uint16Array(list.elements) : new Int32Array(list.elements),
  );
  if (count === ALL_COLUMNS) return Array.from({ length: list.elements }, (_, key) => key);
  return values.subarray(0, count);
}

function sampledRows(heads: number, queries: number): [head: number, query: number][] {
  const places = Array.from({ length: SAMPLED_QUERIES }, (_, at) =>
    Math.min(queries - 1, Math.round((at / (SAMPLED_QUERIES - 1)) * (queries - 1))),
  );
  return [0, heads - 1].flatMap((head) => places.map((query): [number, number] => [head, query]));
}

/** Error of sampled output rows against softmax attention over `keysOf` in float64, plus the cache where given. */
function errorOfRows(
  ops: Ops,
  { q, k, v }: QueryKeyValue,
  scale: number,
  out: DeviceTensor,
  keysOf: (head: number, query: number) => ArrayLike<number>,
  cache?: DeviceTensor,
): number {
  const [, heads = 0, queries = 0, headDim = 0] = q.shape;
  const ours: number[] = [];
  const reference: number[] = [];
  let loaded: { head: number; keys: Float32Array; values: Float32Array } | undefined;
  for (const [head, query] of sampledRows(heads, queries)) {
    if (loaded?.head !== head)
      loaded = {
        head,
        keys: hostValues(ops, k.select(0, 0).select(0, head)),
        values: hostValues(ops, v.select(0, 0).select(0, head)),
      };
    const vector = (tensor: DeviceTensor) =>
      hostValues(ops, tensor.select(0, 0).select(0, head).select(0, query));
    const added = cache ? vector(cache) : new Float32Array(headDim);
    const expected = attendRow(vector(q), loaded.keys, loaded.values, keysOf(head, query), scale);
    ours.push(...vector(out));
    reference.push(...expected.map((value, at) => value + added[at]!));
  }
  return relativeError(ours, reference);
}

function logit(query: Float32Array, keys: Float32Array, key: number, scale: number): number {
  let sum = 0;
  for (let at = 0; at < query.length; at++) sum += query[at]! * keys[key * query.length + at]!;
  return sum * scale;
}

function attendRow(
  query: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  chosen: ArrayLike<number>,
  scale: number,
): number[] {
  const headDim = query.length;
  const logits = Float64Array.from({ length: chosen.length }, (_, at) =>
    logit(query, keys, chosen[at]!, scale),
  );
  const highest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const sums: number[] = Array.from({ length: headDim }, () => 0);
  let weights = 0;
  for (let at = 0; at < chosen.length; at++) {
    const weight = Math.exp(logits[at]! - highest);
    weights += weight;
    const base = chosen[at]! * headDim;
    for (let d = 0; d < headDim; d++) sums[d]! += weight * values[base + d]!;
  }
  return sums.map((sum) => sum / weights);
}

/** Error of the column sums of the first group of the first head against float64. */
function errorOfSums(
  ops: Ops,
  { q, k }: QueryKeyValue,
  scale: number,
  group: number,
  columnSums: DeviceTensor,
): number {
  const [, , queries = 0, headDim = 0] = q.shape;
  const keyCount = k.shape[2] ?? 0;
  const keys = hostValues(ops, k.select(0, 0).select(0, 0));
  const rows = hostValues(ops, q.select(0, 0).select(0, 0).slice(0, 0, Math.min(group, queries)));
  const expected = new Float64Array(keyCount);
  for (let query = 0; query * headDim < rows.length; query++) {
    const vector = rows.subarray(query * headDim, (query + 1) * headDim);
    const logits = Float64Array.from({ length: keyCount }, (_, key) => logit(vector, keys, key, scale));
    const highest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const weights = logits.map((value) => Math.exp(value - highest));
    const sum = weights.reduce((a, b) => a + b, 0);
    weights.forEach((weight, key) => {
      expected[key]! += weight / sum;
    });
  }
  return relativeError(hostValues(ops, columnSums.select(0, 0).select(0, 0).select(0, 0)), expected);
}

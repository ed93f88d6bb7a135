import { attention, columnSums, type PartialSoftmax } from "./reference/attention.ts";
import { cacheRules, mergeCache } from "./reference/attention-cache.ts";
import {
  type Bench,
  type Chosen,
  expectClose,
  Mask,
  nativeTests,
  raggedLists,
  tolerance,
  Values,
  Windows,
} from "./support.ts";

// Shapes that fill a GPU: more pieces of work than multiprocessors, more than 1,024 keys, every kind of tile, and
// nothing a multiple of anything. A few rows of each are compared with the reference.

const native = await nativeTests();

interface Shape {
  readonly batch?: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly headDim: number;
}

class Problem {
  readonly shape: readonly [number, number, number, number];
  readonly dtype;
  readonly scale: number;
  readonly q: Windows;
  readonly k: Windows;
  readonly v: Windows;
  readonly what: string;
  readonly #bench: Bench;

  constructor(bench: Bench, { batch = 1, heads, queries, keys, headDim }: Shape) {
    this.#bench = bench;
    this.dtype = bench.activationTypes[0] ?? "f32";
    this.shape = [batch, heads, queries, headDim];
    this.scale = Math.fround(1 / Math.sqrt(headDim));
    this.q = new Windows(bench, this.shape, this.dtype);
    this.k = new Windows(bench, [batch, heads, keys, headDim], this.dtype);
    this.v = new Windows(bench, [batch, heads, keys, headDim], this.dtype);
    this.what = `${this.dtype} [${batch}, ${heads}, ${queries} x ${keys}, ${headDim}]`;
  }

  get inputs() {
    return [this.q.tensor, this.k.tensor, this.v.tensor, this.scale] as const;
  }

  rows() {
    return this.#bench.output(this.shape, { dtype: this.dtype, layout: "aligned" });
  }

  lse() {
    return this.#bench.output(this.shape.slice(0, 3));
  }

  /** Some heads, the first and the last among them, and of each some queries, the last among them. */
  samples(): Sample[] {
    const [batch, heads, queries] = this.shape;
    const { random } = this.#bench;
    const places: (readonly [number, number])[] = [
      [0, 0],
      [batch - 1, heads - 1],
      [random.integer(0, batch - 1), random.integer(0, heads - 1)],
    ];
    return places.map(([at, head]) => ({
      batch: at,
      head,
      queries: [...new Set([...random.subset(Math.min(12, queries), queries), queries - 1])],
    }));
  }

  reference({ batch, head, queries }: Sample, keysOf?: (query: number) => readonly number[]): PartialSoftmax {
    const input = {
      q: this.q.head(batch, head, queries),
      k: this.k.head(batch, head),
      v: this.v.head(batch, head),
    };
    const chosen = keysOf && ((_: number, __: number, at: number) => keysOf(queries[at] ?? 0));
    return attention(input, { scale: this.scale, ...(chosen ? { chosen } : {}) });
  }
}

interface Sample {
  readonly batch: number;
  readonly head: number;
  readonly queries: readonly number[];
}

/** The sample's rows of [batch, heads, queries, width], or its numbers of [batch, heads, queries]. */
function sampled(values: Values, { batch, head, queries }: Sample): Values {
  const width = values.shape.length === 4 ? [values.size(3)] : [];
  return Values.build([1, 1, queries.length, ...width], (_, __, at = 0, i = 0) =>
    width.length > 0 ? values.at(batch, head, queries[at] ?? 0, i) : values.at(batch, head, queries[at] ?? 0),
  );
}

const shapes: readonly Shape[] = [
  // Pieces of work of 128 rows: 4 a head, 136 in all.
  { heads: 34, queries: 401, keys: 1177, headDim: 128 },
  // Of 192 rows: 3 a head, 138 in all.
  { batch: 2, heads: 23, queries: 475, keys: 1100, headDim: 64 },
  // Few pieces, much to do: cut by keys.
  { heads: 3, queries: 333, keys: 5003, headDim: 128 },
  { heads: 2, queries: 333, keys: 5003, headDim: 64 },
];

for (const shape of shapes)
  native.test(`large dense attention, ${JSON.stringify(shape)}`, (bench) => {
    const problem = new Problem(bench, shape);
    const { dtype, what } = problem;
    const [out, lse] = [problem.rows(), problem.lse()];
    const [q, k, v, scale] = problem.inputs;
    bench.call("tamias_attention", q, k, v, null, scale, 0, out.tensor, lse.tensor);
    const [rows, sums] = [out.read(), lse.read()];
    for (const sample of problem.samples()) {
      const expected = problem.reference(sample);
      expectClose(sampled(rows, sample), expected.out, tolerance(dtype), what);
      expectClose(sampled(sums, sample), expected.lse, tolerance(dtype), `${what} lse`);
    }
  });

const shapesWithSums: readonly Shape[] = [
  { heads: 34, queries: 401, keys: 1177, headDim: 128 },
  { batch: 2, heads: 23, queries: 475, keys: 1100, headDim: 64 },
  { heads: 3, queries: 333, keys: 2603, headDim: 128 },
];

for (const group of [128, 192, 384, 100])
  for (const shape of shapesWithSums)
    native.test(`large column sums in groups of ${group}, ${JSON.stringify(shape)}`, (bench) => {
      const problem = new Problem(bench, shape);
      const { dtype, what, scale } = problem;
      const [batch, heads, queries] = problem.shape;
      const groups = Math.ceil(queries / group);
      // None, near, and so far off that fast kernels must notice.
      for (const distance of [undefined, 0.5, bench.random.pick([-60, 60])]) {
        const shift = (query: number) => (query % 7 === 3 ? (distance ?? 0) : -0.25);
        const [out, lse] = [problem.rows(), problem.lse()];
        const sums = bench.output([batch, heads, groups, shape.keys]);
        const inputs = [...problem.inputs, group] as const;
        if (distance === undefined) {
          bench.call("tamias_attention_column_sums", ...inputs, null, out.tensor, lse.tensor, sums.tensor);
        } else {
          const first = problem.lse();
          const [q, k, v] = problem.inputs;
          bench.call("tamias_attention", q, k, v, null, scale, 0, out.tensor, first.tensor);
          const shifted = first.read().map((value, at) => value + shift(at % queries));
          const previous = bench.input(shifted).tensor;
          bench.call(
            "tamias_attention_column_sums",
            ...inputs,
            previous,
            out.tensor,
            lse.tensor,
            sums.tensor,
          );
        }
        const [rows, own, columns] = [out.read(), lse.read(), sums.read()];
        const samples = problem.samples();
        for (const sample of samples) {
          const expected = problem.reference(sample);
          const which = `${what} in groups of ${group}, earlier lse off by ${distance}`;
          expectClose(sampled(rows, sample), expected.out, tolerance(dtype), which);
          expectClose(sampled(own, sample), expected.lse, tolerance(dtype), `${which}, lse`);
          if (sample !== samples.at(-1)) continue;
          const at = bench.random.pick([0, groups - 1, bench.random.integer(0, groups - 1)]);
          const members = Array.from(
            { length: Math.min(group, queries - at * group) },
            (_, member) => at * group + member,
          );
          const all = { ...sample, queries: members };
          const exact = problem.reference(all);
          const used =
            distance === undefined ? exact.lse : exact.lse.map((value, i) => value + shift(members[i] ?? 0));
          const input = {
            q: problem.q.head(all.batch, all.head, members),
            k: problem.k.head(all.batch, all.head),
          };
          const should = columnSums({ ...input, v: input.k }, scale, members.length, used);
          const found = columns.row(all.batch, all.head, at);
          expectClose(
            new Values([1, 1, 1, shape.keys], Float64Array.from(found)),
            should,
            tolerance(dtype),
            `${which}, sums of group ${at}`,
          );
        }
      }
    });

interface SparseCase extends Shape {
  readonly group: number;
  /** Each list's length; absent: of all kinds. */
  readonly length?: number;
}

const sparse: readonly SparseCase[] = [
  { heads: 34, queries: 601, keys: 1177, headDim: 128, group: 128 },
  { heads: 34, queries: 801, keys: 1177, headDim: 128, group: 192 },
  { heads: 34, queries: 801, keys: 1177, headDim: 64, group: 192 },
  { batch: 2, heads: 23, queries: 475, keys: 1300, headDim: 64, group: 128 },
  // Groups of several pieces: 2 of 192 rows, 2 of 128, 3 of 192.
  { heads: 24, queries: 1100, keys: 1177, headDim: 64, group: 384 },
  { heads: 24, queries: 700, keys: 1177, headDim: 128, group: 250 },
  { heads: 20, queries: 1100, keys: 1177, headDim: 128, group: 500 },
  { heads: 34, queries: 401, keys: 1177, headDim: 64, group: 64 },
  { heads: 34, queries: 401, keys: 1177, headDim: 128, group: 100 },
  // Lists so long for so few groups that they are cut into chunks.
  { heads: 2, queries: 333, keys: 6007, headDim: 128, group: 128, length: 5003 },
  { heads: 1, queries: 333, keys: 6007, headDim: 64, group: 192, length: 5003 },
];

for (const { length, group, ...shape } of sparse)
  native.test(`large column-sparse attention in groups of ${group}, ${JSON.stringify(shape)}`, (bench) => {
    const { random } = bench;
    const problem = new Problem(bench, shape);
    const { dtype, scale } = problem;
    const [batch, heads, queries] = problem.shape;
    const groups = Math.ceil(queries / group);
    const lists = { batch, lists: heads, groups, columns: shape.keys };
    const chosen =
      length === undefined
        ? raggedLists(bench, lists)
        : Array.from({ length: batch * heads * groups }, (): Chosen => random.subset(length, shape.keys));
    const mask = new Mask(bench, lists, chosen, { dtype: random.pick(["i32", "u16"]), room: "chosen" });
    const cache = bench.normal(problem.shape, { dtype, layout: "alignedRows" });
    const cacheLse = bench.uniform(problem.shape.slice(0, 3), -1, 9);
    for (const [code, rule] of cacheRules.entries()) {
      const beta = Math.fround(random.uniform(0.5, 1));
      const [out, lse] = [problem.rows(), problem.lse()];
      bench.call(
        "tamias_attention_columns",
        problem.q.tensor,
        problem.k.tensor,
        problem.v.tensor,
        scale,
        group,
        mask.indices.tensor,
        mask.counts.tensor,
        code,
        beta,
        rule === "none" ? null : cache.tensor,
        rule === "lse" ? cacheLse.tensor : null,
        out.tensor,
        lse.tensor,
      );
      const [rows, sums] = [out.read(), lse.read()];
      for (const sample of problem.samples()) {
        const own = problem.reference(sample, (query) =>
          mask.at(sample.batch, sample.head, Math.floor(query / group)),
        );
        const remembered = { out: sampled(cache.values, sample), lse: sampled(cacheLse.values, sample) };
        const expected = mergeCache(rule, beta, own, remembered);
        const what = `${problem.what} in groups of ${group}, cache rule ${rule}, head ${sample.head}`;
        expectClose(sampled(rows, sample), expected.out, tolerance(dtype), what);
        expectClose(sampled(sums, sample), expected.lse, tolerance(dtype), `${what}, lse`);
      }
    }
  });

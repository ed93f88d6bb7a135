import { attention, type AttentionOptions } from "./reference/attention.ts";
import {
  allLayouts,
  type Bench,
  expectClose,
  nativeTests,
  type Operand,
  rowLayouts,
  tolerance,
  Values,
} from "./support.ts";

const native = await nativeTests();

interface Problem {
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  readonly out: Operand;
  readonly lse: Operand;
  readonly scale: number;
  readonly what: string;
}

interface ProblemOptions {
  readonly headDim?: number;
  readonly queries?: number;
  readonly keys?: number;
}

function randomProblem(bench: Bench, options: ProblemOptions = {}): Problem {
  const { random } = bench;
  const dtype = random.pick(bench.activationTypes);
  const [batch, heads] = [random.integer(1, 2), random.integer(1, 3)];
  const { headDim = random.pick([8, 12, 64, 128]) } = options;
  const { queries = random.pick([1, random.integer(2, 20), random.integer(60, 150)]) } = options;
  const { keys = random.pick([queries, 1, random.integer(2, 20), random.integer(60, 150)]) } = options;
  const rows = (tokens: number, make: "normal" | "output") =>
    bench[make]([batch, heads, tokens, headDim], { dtype, layout: random.pick(rowLayouts) });
  return {
    q: rows(queries, "normal"),
    k: rows(keys, "normal"),
    v: rows(keys, "normal"),
    out: rows(queries, "output"),
    lse: bench.output([batch, heads, queries], { layout: random.pick(allLayouts) }),
    scale: Math.fround(random.pick([1 / Math.sqrt(headDim), random.uniform(0, 1)])),
    what: `${dtype} [${batch}, ${heads}, ${queries} x ${keys}, ${headDim}]`,
  };
}

function check(
  bench: Bench,
  problem: Problem,
  options: Omit<AttentionOptions, "scale">,
  bias?: Operand,
): void {
  const { q, k, v, out, lse, scale, what } = problem;
  const wantsLse = bench.random.chance(0.7);
  bench.call(
    "tamias_attention",
    q.tensor,
    k.tensor,
    v.tensor,
    bias?.tensor ?? null,
    scale,
    options.causal ? 1 : 0,
    out.tensor,
    wantsLse ? lse.tensor : null,
  );
  const expected = attention({ q: q.values, k: k.values, v: v.values }, { scale, ...options });
  const limit = tolerance(q.tensor.dtype);
  expectClose(out.read(), expected.out, limit, what);
  if (wantsLse) expectClose(lse.read(), expected.lse, limit, `${what} lse`);
}

for (const headDim of [8, 12, 64, 128])
  native.test(`attention with head dimension ${headDim}, any lengths and strides`, (bench) => {
    for (let round = 0; round < 8; round++) check(bench, randomProblem(bench, { headDim }), {});
  });

native.test("attention with a causal mask", (bench) => {
  for (let round = 0; round < 8; round++) check(bench, randomProblem(bench), { causal: true });
});

native.test("attention with a bias of any strides, causal or not", (bench) => {
  for (let round = 0; round < 10; round++) {
    const problem = randomProblem(bench);
    const [, heads = 0, queries = 0] = problem.q.tensor.shape;
    const shape = [heads, queries, problem.k.tensor.shape[2] ?? 0];
    const bias = bench.normal(shape, { layout: bench.random.pick(allLayouts) });
    check(bench, problem, { bias: bias.values, causal: bench.random.chance(0.3) }, bias);
  }
});

native.test("a bias of -infinity hides keys", (bench) => {
  const problem = randomProblem(bench, { queries: 33, keys: 70 });
  const heads = problem.q.tensor.shape[1] ?? 0;
  const finite = bench.normal([heads, 33, 70]);
  const bias = bench.input(
    finite.values.map((value, at) => (at % 70 > 0 && bench.random.chance(0.5) ? -Infinity : value)),
  );
  check(bench, problem, { bias: bias.values }, bias);
});

native.test("one query, one key, and both", (bench) => {
  check(bench, randomProblem(bench, { queries: 1, keys: 1 }), {});
  check(bench, randomProblem(bench, { queries: 1, keys: 300 }), {});
  check(bench, randomProblem(bench, { queries: 300, keys: 1 }), {});
});

native.test("more queries and keys than any tile", (bench) => {
  check(bench, randomProblem(bench, { queries: 301, keys: 517, headDim: 64 }), {});
});

native.test("logits far beyond exp's range", (bench) => {
  const [queries, keys] = [20, 50];
  const shape = (tokens: number) => [1, 2, tokens, 16];
  const [q, k, v] = [
    bench.uniform(shape(queries), -40, 40),
    bench.uniform(shape(keys), -40, 40),
    bench.normal(shape(keys)),
  ];
  const problem = {
    q,
    k,
    v,
    out: bench.output(shape(queries)),
    lse: bench.output([1, 2, queries]),
    scale: 1,
  };
  // Two logits of thousands may differ by less than their rounding: a little more room.
  const { out, lse } = attention({ q: q.values, k: k.values, v: v.values }, { scale: 1 });
  bench.call(
    "tamias_attention",
    q.tensor,
    k.tensor,
    v.tensor,
    null,
    1,
    0,
    problem.out.tensor,
    problem.lse.tensor,
  );
  expectClose(problem.out.read(), out, 5e-3, "out");
  expectClose(problem.lse.read(), lse, 1e-5, "lse");
});

native.test("queries, keys and values may be slices of one projection, the result another's", (bench) => {
  const [batch, tokens, heads, headDim] = [2, 45, 3, 16];
  for (const dtype of bench.activationTypes) {
    const wide = bench.normal([batch, tokens, 3 * heads * headDim], { dtype });
    const out = bench.output([batch, tokens, heads * headDim], { dtype });
    const view = (part: number) =>
      wide.tensor.reshape(batch, tokens, 3, heads, headDim).select(2, part).permute(0, 2, 1, 3);
    const outView = out.tensor.reshape(batch, tokens, heads, headDim).permute(0, 2, 1, 3);
    bench.call("tamias_attention", view(0), view(1), view(2), null, 0.25, 0, outView, null);

    const parts = wide.values.reshape(batch, tokens, 3, heads, headDim);
    const values = (part: number) =>
      Values.build([batch, heads, tokens, headDim], (b = 0, head = 0, token = 0, i = 0) =>
        parts.at(b, token, part, head, i),
      );
    const expected = attention({ q: values(0), k: values(1), v: values(2) }, { scale: 0.25 }).out;
    const rows = Values.build([batch, tokens, heads, headDim], (b = 0, token = 0, head = 0, i = 0) =>
      expected.at(b, head, token, i),
    );
    expectClose(out.read(), rows.reshape(batch, tokens, heads * headDim), tolerance(dtype), dtype);
  }
});

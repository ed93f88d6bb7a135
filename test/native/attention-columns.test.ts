import { attention, columnSums, type PartialSoftmax, type QueryKeyValue } from "./reference/attention.ts";
import { buildCache, cacheRules, mergeCache } from "./reference/attention-cache.ts";
import {
  allLayouts,
  type Bench,
  expectClose,
  Mask,
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
  readonly values: QueryKeyValue;
  readonly scale: number;
  readonly group: number;
  readonly mask: Mask;
  readonly rows: readonly number[];
  readonly what: string;
}

function randomProblem(bench: Bench, headDim = bench.random.pick([8, 12, 64, 128])): Problem {
  const { random } = bench;
  const dtype = random.pick(bench.activationTypes);
  const [batch, heads, group] = [random.integer(1, 2), random.integer(1, 3), bench.group()];
  const queries = random.pick([1, random.integer(2, 40), random.integer(100, 200)]);
  const keys = random.pick([1, queries, random.integer(2, 40), random.integer(100, 200)]);
  const rows = [batch, heads, queries, headDim];
  const [q, k, v] = [queries, keys, keys].map((tokens) =>
    bench.normal([batch, heads, tokens, headDim], { dtype, layout: random.pick(rowLayouts) }),
  );
  if (!q || !k || !v) throw new Error("There are three operands.");
  const mask = Mask.random(
    bench,
    { batch, lists: heads, groups: Math.ceil(queries / group), columns: keys },
    { capacity: random.integer(1, keys), dtype: random.pick(["i32", "u16"]) },
  );
  return {
    q,
    k,
    v,
    values: { q: q.values, k: k.values, v: v.values },
    scale: Math.fround(1 / Math.sqrt(headDim)),
    group,
    mask,
    rows,
    what: `${dtype} [${batch}, ${heads}, ${queries} x ${keys}, ${headDim}] in groups of ${group}`,
  };
}

function overChosen({ values, scale, mask, group }: Problem): PartialSoftmax {
  return attention(values, {
    scale,
    chosen: (batch, head, query) => mask.at(batch, head, Math.floor(query / group)),
  });
}

for (const [code, rule] of cacheRules.entries())
  for (const headDim of [8, 12, 64, 128])
    native.test(`column-sparse attention, cache rule ${rule}, head dimension ${headDim}`, (bench) => {
      for (let round = 0; round < 5; round++) {
        const problem = randomProblem(bench, headDim);
        const { q, k, v, mask, rows, scale, group, what } = problem;
        const { dtype } = q.tensor;
        const beta = Math.fround(bench.random.pick([1, 0.8, 0, bench.random.uniform(-1, 2)]));
        const cache = bench.normal(rows, { dtype, layout: bench.random.pick(rowLayouts) });
        const cacheLse = bench.input(
          new Values(rows.slice(0, 3)).map(() =>
            bench.random.chance(0.1) ? -Infinity : bench.random.uniform(-1, 6),
          ),
          { layout: bench.random.pick(allLayouts) },
        );
        const out = bench.output(rows, { dtype, layout: bench.random.pick(rowLayouts) });
        const lse = bench.random.chance(0.8)
          ? bench.output(rows.slice(0, 3), { layout: bench.random.pick(allLayouts) })
          : undefined;
        bench.call(
          "tamias_attention_columns",
          q.tensor,
          k.tensor,
          v.tensor,
          scale,
          group,
          mask.indices.tensor,
          mask.counts.tensor,
          code,
          beta,
          rule === "none" ? null : cache.tensor,
          rule === "lse" ? cacheLse.tensor : null,
          out.tensor,
          lse?.tensor ?? null,
        );
        const remembered = { out: cache.values, lse: cacheLse.values };
        const expected = mergeCache(rule, beta, overChosen(problem), remembered);
        expectClose(out.read(), expected.out, tolerance(dtype), `${what}, beta ${beta}`);
        if (lse) expectClose(lse.read(), expected.lse, tolerance(dtype), `${what} lse`);
      }
    });

native.test("column sums, with this step's log-sum-exp", (bench) => {
  for (let round = 0; round < 12; round++) {
    const { q, k, v, values, scale, group, rows, what } = randomProblem(bench);
    const { dtype } = q.tensor;
    const [batch = 0, heads = 0, queries = 0] = rows;
    const keys = values.k.size(2);
    const groups = Math.ceil(queries / group);
    const out = bench.output(rows, { dtype, layout: bench.random.pick(rowLayouts) });
    const lse = bench.output([batch, heads, queries], { layout: bench.random.pick(allLayouts) });
    const sums = bench.output([batch, heads, groups, keys]);
    const inputs = [q.tensor, k.tensor, v.tensor, scale, group] as const;
    bench.call("tamias_attention_column_sums", ...inputs, null, out.tensor, lse.tensor, sums.tensor);
    const expected = attention(values, { scale });
    expectClose(out.read(), expected.out, tolerance(dtype), what);
    expectClose(lse.read(), expected.lse, tolerance(dtype), `${what} lse`);
    const actual = sums.read();
    expectClose(actual, columnSums(values, scale, group, expected.lse), tolerance(dtype), `${what} sums`);
    const totals = Values.build([batch, heads, groups], (b = 0, head = 0, at = 0) =>
      actual.row(b, head, at).reduce((sum, value) => sum + value, 0),
    );
    const sizes = Values.build([batch, heads, groups], (_, __, at = 0) =>
      Math.min(group, queries - at * group),
    );
    expectClose(totals, sizes, tolerance(dtype), `${what}: each row of sums is its queries`);
  }
});

native.test("column sums, with an earlier step's log-sum-exp, replaced in place or not", (bench) => {
  for (let round = 0; round < 12; round++) {
    const { q, k, v, values, scale, group, rows, what } = randomProblem(bench);
    const { dtype } = q.tensor;
    const [batch = 0, heads = 0, queries = 0] = rows;
    const exact = attention(values, { scale });
    const previous = bench.input(
      exact.lse.map((value) => value + bench.random.uniform(-0.5, 0.5)),
      { layout: bench.random.pick(allLayouts) },
    );
    const lse = bench.random.chance(0.5) ? previous : bench.output([batch, heads, queries]);
    const out = bench.output(rows, { dtype, layout: bench.random.pick(rowLayouts) });
    const sums = bench.output([batch, heads, Math.ceil(queries / group), values.k.size(2)]);
    const inputs = [q.tensor, k.tensor, v.tensor, scale, group] as const;
    bench.call(
      "tamias_attention_column_sums",
      ...inputs,
      previous.tensor,
      out.tensor,
      lse.tensor,
      sums.tensor,
    );
    const place = lse === previous ? "in place" : "apart";
    expectClose(out.read(), exact.out, tolerance(dtype), `${what} ${place}`);
    expectClose(lse.read(), exact.lse, tolerance(dtype), `${what} lse ${place}`);
    const expected = columnSums(values, scale, group, previous.values);
    expectClose(sums.read(), expected, tolerance(dtype), `${what} sums ${place}`);
  }
});

for (const rule of ["control", "lse"] as const)
  native.test(`the cache of rule ${rule}, apart and in place of the chosen part`, (bench) => {
    const { random } = bench;
    const code = cacheRules.indexOf(rule);
    for (const dtype of bench.activationTypes)
      for (let round = 0; round < 8; round++) {
        const rows = [
          random.integer(1, 2),
          random.integer(1, 3),
          random.integer(1, 40),
          random.integer(1, 70),
        ];
        const shape = rows.slice(0, 3);
        const o = bench.normal(rows, { dtype, layout: random.pick(rowLayouts) });
        const chosenOut = bench.normal(rows, { dtype, layout: random.pick(rowLayouts) });
        const lse = bench.uniform(shape, 0, 8, { layout: random.pick(allLayouts) });
        const chosenLse = bench.input(
          lse.values.map((value) => {
            if (random.chance(0.1)) return value;
            return random.chance(0.1) ? -Infinity : value - random.uniform(0.3, 5);
          }),
          { layout: random.pick(allLayouts) },
        );
        const beta = Math.fround(random.uniform(0, 1.5));
        const cache = random.chance(0.5)
          ? chosenOut
          : bench.output(rows, { dtype, layout: random.pick(rowLayouts) });
        const cacheLse = bench.output(shape, { layout: random.pick(allLayouts) });
        const only = (operand: Operand) => (rule === "lse" ? operand.tensor : null);
        const expected = buildCache(
          rule,
          beta,
          { out: o.values, lse: lse.values },
          { out: chosenOut.values, lse: chosenLse.values },
        );
        bench.call(
          "tamias_attention_cache",
          code,
          beta,
          o.tensor,
          only(lse),
          chosenOut.tensor,
          only(chosenLse),
          cache.tensor,
          only(cacheLse),
        );
        const what = `${dtype} [${rows.join(", ")}]${cache === chosenOut ? " in place" : ""}`;
        expectClose(cache.read(), expected.out, tolerance(dtype), what);
        if (rule === "lse") expectClose(cacheLse.read(), expected.lse, tolerance(dtype), `${what} lse`);
      }
  });

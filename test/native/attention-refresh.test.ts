import { type CacheRule, cacheRules } from "./reference/attention-cache.ts";
import {
  type Bench,
  type Chosen,
  expectClose,
  Mask,
  nativeTests,
  type Operand,
  rowLayouts,
  Values,
} from "./support.ts";

const native = await nativeTests();

/** Everything of one attention module, with the calls a refresh and a delta are made of. */
class Module {
  readonly #bench: Bench;
  readonly #inputs: readonly [Operand, Operand, Operand];
  readonly #scale: number;
  readonly group: number;
  readonly rows: readonly number[];
  readonly keys: number;
  readonly dense: Operand;
  readonly denseLse: Operand;
  readonly what: string;

  constructor(bench: Bench, queries: number, keys: number, headDim: number) {
    const { random } = bench;
    const [batch, heads, dtype] = [
      random.integer(1, 2),
      random.integer(1, 3),
      random.pick(bench.activationTypes),
    ];
    this.#bench = bench;
    this.rows = [batch, heads, queries, headDim];
    this.keys = keys;
    this.group = bench.group();
    this.#scale = Math.fround(1 / Math.sqrt(headDim));
    const tokens = (count: number) =>
      bench.normal([batch, heads, count, headDim], { dtype, layout: random.pick(rowLayouts) });
    this.#inputs = [tokens(queries), tokens(keys), tokens(keys)];
    this.dense = bench.output(this.rows, { dtype });
    this.denseLse = bench.output(this.rows.slice(0, 3));
    const sums = bench.output([batch, heads, this.groups, keys]);
    bench.call(
      "tamias_attention_column_sums",
      ...this.#tensors(),
      this.#scale,
      this.group,
      null,
      this.dense.tensor,
      this.denseLse.tensor,
      sums.tensor,
    );
    this.what = `${dtype} [${batch}, ${heads}, ${queries} x ${keys}, ${headDim}] in groups of ${this.group}`;
  }

  get groups(): number {
    return Math.ceil((this.rows[2] ?? 0) / this.group);
  }

  get tolerance(): number {
    return this.dense.tensor.dtype === "f32" ? 1e-5 : 2e-2;
  }

  mask(chosen: (group: number) => Chosen): Mask {
    const [batch = 0, lists = 0] = this.rows;
    const shape = { batch, lists, groups: this.groups, columns: this.keys };
    return new Mask(
      this.#bench,
      shape,
      Array.from({ length: batch * lists * this.groups }, (_, at) => chosen(at)),
      { dtype: this.#bench.random.pick(["i32", "u16"]) },
    );
  }

  /** Refreshes the cache for a mask, then runs a delta on the same inputs. */
  refreshThenDelta(mask: Mask, rule: CacheRule, beta: number): Values {
    const { dtype } = this.dense.tensor;
    const chosen = this.#bench.output(this.rows, { dtype });
    const chosenLse = this.#bench.output(this.rows.slice(0, 3));
    this.#columns(mask, "none", 1, undefined, undefined, chosen, chosenLse);
    const cache = this.#bench.output(this.rows, { dtype });
    const cacheLse = this.#bench.output(this.rows.slice(0, 3));
    this.#bench.call(
      "tamias_attention_cache",
      cacheRules.indexOf(rule),
      beta,
      this.dense.tensor,
      this.denseLse.tensor,
      chosen.tensor,
      chosenLse.tensor,
      cache.tensor,
      rule === "lse" ? cacheLse.tensor : null,
    );
    const out = this.#bench.output(this.rows, { dtype });
    this.#columns(mask, rule, beta, cache, rule === "lse" ? cacheLse : undefined, out, undefined);
    return out.read();
  }

  /** The chosen columns alone. */
  chosenOnly(mask: Mask): Values {
    const out = this.#bench.output(this.rows, { dtype: this.dense.tensor.dtype });
    this.#columns(mask, "none", 1, undefined, undefined, out, undefined);
    return out.read();
  }

  #columns(
    mask: Mask,
    rule: CacheRule,
    beta: number,
    cache: Operand | undefined,
    cacheLse: Operand | undefined,
    out: Operand,
    lse: Operand | undefined,
  ): void {
    this.#bench.call(
      "tamias_attention_columns",
      ...this.#tensors(),
      this.#scale,
      this.group,
      mask.indices.tensor,
      mask.counts.tensor,
      cacheRules.indexOf(rule),
      beta,
      cache?.tensor ?? null,
      cacheLse?.tensor ?? null,
      out.tensor,
      lse?.tensor ?? null,
    );
  }

  #tensors() {
    const [q, k, v] = this.#inputs;
    return [q.tensor, k.tensor, v.tensor] as const;
  }
}

function randomModule(bench: Bench): Module {
  const { random } = bench;
  const queries = random.pick([1, random.integer(2, 60), random.integer(100, 400)]);
  const keys = random.pick([queries, random.integer(1, 300)]);
  return new Module(bench, queries, keys, random.pick([8, 12, 64, 128]));
}

for (const rule of ["control", "lse"] as const) {
  native.test(
    `rule ${rule}: a delta at the refresh's own inputs is dense attention, whatever is chosen`,
    (bench) => {
      const { random } = bench;
      for (let round = 0; round < 16; round++) {
        const module = randomModule(bench);
        const density = random.uniform(0, 1);
        const mask = module.mask(() => {
          if (random.chance(0.1)) return random.pick(["all", []] as const);
          return random.subset(Math.round(density * module.keys), module.keys);
        });
        const beta = Math.fround(random.pick([1, 0.8, 0.6, 0, random.uniform(-0.5, 1.5)]));
        const what = `${module.what}, ${(100 * density).toFixed()} % of keys, beta ${beta}`;
        expectClose(module.refreshThenDelta(mask, rule, beta), module.dense.read(), module.tolerance, what);
      }
    },
  );

  native.test(`rule ${rule}: groups with no chosen keys answer from the cache`, (bench) => {
    for (let round = 0; round < 4; round++) {
      const module = randomModule(bench);
      const mask = module.mask(() => []);
      expectClose(module.refreshThenDelta(mask, rule, 1), module.dense.read(), module.tolerance, module.what);
    }
  });

  native.test(`rule ${rule}: one token, one key`, (bench) => {
    const module = new Module(bench, 1, 1, 64);
    for (const chosen of [[], [0], "all"] as const) {
      const mask = module.mask(() => chosen);
      const what = `${module.what}, chosen: ${chosen.toString()}`;
      expectClose(module.refreshThenDelta(mask, rule, 0.8), module.dense.read(), module.tolerance, what);
    }
  });
}

native.test("with every key chosen, by list or by count, the chosen part is dense attention", (bench) => {
  for (let round = 0; round < 8; round++) {
    const module = randomModule(bench);
    const every = Array.from({ length: module.keys }, (_, key) => key);
    for (const chosen of [every, "all"] as const) {
      const mask = module.mask(() => chosen);
      const what = `${module.what}, ${chosen === "all" ? "count -1" : "listed"}`;
      expectClose(module.chosenOnly(mask), module.dense.read(), module.tolerance, what);
      for (const rule of ["control", "lse"] as const)
        expectClose(
          module.refreshThenDelta(mask, rule, 1),
          module.dense.read(),
          module.tolerance,
          `${what} ${rule}`,
        );
    }
  }
});

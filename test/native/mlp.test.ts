import { linear } from "./reference/linear.ts";
import { blockMeans, fc2, slabs } from "./reference/mlp.ts";
import {
  type Bench,
  expectClose,
  expectEqual,
  Mask,
  nativeTests,
  type Operand,
  rowLayouts,
  tolerance,
  Values,
} from "./support.ts";

const native = await nativeTests();

/** A random MLP and its caches: slabs of activations, means of pre-activations, the output. */
class Mlp {
  readonly #bench: Bench;
  readonly #activation: number;
  readonly #w1: Operand;
  readonly #b1: Operand | undefined;
  readonly #w2t: Operand;
  readonly #b2: Operand | undefined;
  readonly batch: number;
  readonly tokens: number;
  readonly d: number;
  readonly hidden: number;
  readonly outputs: number;
  readonly group: number;
  readonly activations: Operand;
  readonly means: Operand;
  readonly out: Operand;
  readonly what: string;

  constructor(bench: Bench) {
    const { random } = bench;
    this.#bench = bench;
    this.#activation = random.pick([0, 1, 2, 3, 4]);
    this.batch = random.integer(1, 2);
    this.group = bench.group();
    this.tokens = random.pick([1, random.integer(2, 30), random.integer(50, 200)]);
    this.d = random.pick([1, random.integer(2, 20), 64]);
    this.hidden = random.pick([1, random.integer(2, 30), random.integer(60, 150), 128]);
    this.outputs = random.pick([1, random.integer(2, 20), 64]);
    this.#w1 = bench.weight([this.hidden, this.d], { layout: "rows" });
    this.#b1 = random.chance(0.7) ? bench.weight([this.hidden]) : undefined;
    this.#w2t = bench.weight([this.hidden, this.outputs], { layout: "rows" }, this.hidden);
    this.#b2 = random.chance(0.7) ? bench.weight([this.outputs]) : undefined;
    this.activations = bench.output([this.batch, this.groups, this.hidden, this.group], {
      dtype: this.dtype,
    });
    this.means = bench.output([this.batch, this.groups, this.hidden]);
    // Cached outputs are F32 on every backend: deltas are added to them.
    this.out = bench.output([this.batch, this.tokens, this.outputs], { layout: random.pick(rowLayouts) });
    this.what =
      `${this.dtype} [${this.batch}, ${this.tokens}, ${this.d}] -> ${this.hidden} -> ${this.outputs}, ` +
      `groups of ${this.group}, ${this.#w1.tensor.dtype} and ${this.#w2t.tensor.dtype} weights`;
  }

  get groups(): number {
    return Math.ceil(this.tokens / this.group);
  }

  get dtype() {
    return this.#bench.activationTypes[0] ?? "f32";
  }

  get tolerance(): number {
    return tolerance(this.dtype);
  }

  input(): Operand {
    const layout = this.#bench.random.pick(rowLayouts);
    return this.#bench.normal([this.batch, this.tokens, this.d], { dtype: this.dtype, layout });
  }

  mask(capacity = 0): Mask {
    const shape = { batch: this.batch, lists: 1, groups: this.groups, columns: this.hidden };
    return Mask.random(this.#bench, shape, { capacity, dtype: this.#bench.random.pick(["i32", "u16"]) });
  }

  refresh(x: Operand, withMeans = true): void {
    const means = withMeans ? this.means.tensor : null;
    this.#bench.call(
      "tamias_mlp_refresh_fc1",
      x.tensor,
      this.#w1.tensor,
      this.#b1?.tensor ?? null,
      this.#activation,
      this.activations.tensor,
      means,
    );
    this.#bench.call(
      "tamias_mlp_refresh_fc2",
      this.activations.tensor,
      this.#w2t.tensor,
      this.#b2?.tensor ?? null,
      this.out.tensor,
    );
  }

  delta(x: Operand, mask: Mask): Operand {
    const delta = this.#bench.output([this.batch, this.groups, mask.capacity, this.group], {
      dtype: this.dtype,
    });
    const [indices, counts] = [mask.indices.tensor, mask.counts.tensor];
    this.#bench.call(
      "tamias_mlp_delta_fc1",
      x.tensor,
      this.#w1.tensor,
      this.#b1?.tensor ?? null,
      this.#activation,
      indices,
      counts,
      this.activations.tensor,
      delta.tensor,
    );
    this.#bench.call(
      "tamias_mlp_delta_fc2",
      delta.tensor,
      indices,
      counts,
      this.#w2t.tensor,
      this.out.tensor,
    );
    return delta;
  }

  preActivations(x: Values): Values {
    return linear(x, this.#w1.values, this.#b1?.values);
  }

  expectedSlabs(x: Values): Values {
    return slabs(this.preActivations(x), this.group, this.#activation);
  }

  expectedOut(activations: Values): Values {
    return fc2(activations, this.tokens, this.#w2t.values, this.#b2?.values);
  }

  expectedDense(x: Values): Values {
    return this.expectedOut(this.expectedSlabs(x));
  }
}

/** The slabs after a delta: chosen neurons from `now`, all others from `before`. */
function mixed(before: Values, now: Values, mask: Mask): Values {
  const result = new Values(before.shape, before.data.slice());
  for (let batch = 0; batch < before.size(0); batch++)
    for (let group = 0; group < before.size(1); group++)
      for (const neuron of mask.at(batch, 0, group))
        result.row(batch, group, neuron).set(now.row(batch, group, neuron));
  return result;
}

native.test("a refresh is the dense MLP, and keeps slabs and means", (bench) => {
  for (let round = 0; round < 20; round++) {
    const mlp = new Mlp(bench);
    const x = mlp.input();
    const withMeans = bench.random.chance(0.7);
    mlp.refresh(x, withMeans);
    const pre = mlp.preActivations(x.values);
    const made = mlp.activations.read();
    expectClose(made, mlp.expectedSlabs(x.values), mlp.tolerance, `${mlp.what} slabs`);
    if (withMeans)
      expectClose(mlp.means.read(), blockMeans(pre, mlp.group), mlp.tolerance, `${mlp.what} means`);
    else mlp.means.expectUntouched();
    // From the slabs as they were rounded: a few outputs may cancel to much less than what rounding leaves of them.
    expectClose(mlp.out.read(), mlp.expectedOut(made), mlp.tolerance, `${mlp.what} out`);
  }
});

native.test("what lies past a short last group is exactly 0", (bench) => {
  for (let round = 0; round < 6; round++) {
    const mlp = new Mlp(bench);
    mlp.refresh(mlp.input());
    const values = mlp.activations.read();
    const beyond = values.map((value, at) => {
      const group = Math.floor(at / mlp.group / mlp.hidden) % mlp.groups;
      return group * mlp.group + (at % mlp.group) < mlp.tokens ? 0 : value;
    });
    expectEqual(beyond, new Values(values.shape), mlp.what);
  }
});

native.test("a delta at the refresh's own inputs changes nothing", (bench) => {
  for (let round = 0; round < 10; round++) {
    const mlp = new Mlp(bench);
    const x = mlp.input();
    mlp.refresh(x);
    mlp.delta(x, mlp.mask());
    expectClose(mlp.out.read(), mlp.expectedDense(x.values), mlp.tolerance, mlp.what);
    expectClose(mlp.activations.read(), mlp.expectedSlabs(x.values), mlp.tolerance, `${mlp.what} slabs`);
  }
});

native.test("a delta over every neuron is the dense MLP of the new inputs", (bench) => {
  for (let round = 0; round < 12; round++) {
    const mlp = new Mlp(bench);
    mlp.refresh(mlp.input());
    const changed = mlp.input();
    const shape = { batch: mlp.batch, lists: 1, groups: mlp.groups, columns: mlp.hidden };
    const every = Array.from({ length: mlp.hidden }, (_, neuron) => neuron);
    const chosen = Array.from({ length: mlp.batch * mlp.groups }, () =>
      bench.random.pick([every, "all"] as const),
    );
    mlp.delta(changed, new Mask(bench, shape, chosen));
    expectClose(mlp.out.read(), mlp.expectedDense(changed.values), 3 * mlp.tolerance, mlp.what);
    expectClose(
      mlp.activations.read(),
      mlp.expectedSlabs(changed.values),
      mlp.tolerance,
      `${mlp.what} slabs`,
    );
  }
});

native.test("deltas recompute the chosen neurons only, and their sum stays with the slabs", (bench) => {
  for (let round = 0; round < 20; round++) {
    const mlp = new Mlp(bench);
    const first = mlp.input();
    mlp.refresh(first);
    let expected = mlp.expectedSlabs(first.values);
    for (let step = 0; step < 3; step++) {
      const x = mlp.input();
      const mask = mlp.mask(bench.random.integer(0, mlp.hidden));
      const before = expected;
      expected = mixed(before, mlp.expectedSlabs(x.values), mask);
      const delta = mlp.delta(x, mask).read();
      const what = `${mlp.what}, step ${step}`;
      expectClose(mlp.activations.read(), expected, mlp.tolerance, `${what} slabs`);
      expectClose(mlp.out.read(), mlp.expectedOut(expected), (3 + step) * mlp.tolerance, `${what} out`);
      checkDelta(delta, before, expected, mask, mlp, what);
    }
  }
});

native.test("a mask wider than its lists, and lists as long as the mask", (bench) => {
  for (const extra of [0, 5]) {
    const mlp = new Mlp(bench);
    mlp.refresh(mlp.input());
    const x = mlp.input();
    const shape = { batch: mlp.batch, lists: 1, groups: mlp.groups, columns: mlp.hidden };
    const all = Array.from({ length: mlp.batch * mlp.groups }, () => "all" as const);
    mlp.delta(x, mlp.mask(mlp.hidden + extra));
    mlp.delta(x, new Mask(bench, shape, all, { capacity: mlp.hidden + extra }));
    expectClose(
      mlp.out.read(),
      mlp.expectedDense(x.values),
      5 * mlp.tolerance,
      `${mlp.what}, ${extra} wider`,
    );
  }
});

/** delta holds new - old of each chosen neuron, in the order of the list; the rest of it is undefined. */
function checkDelta(delta: Values, before: Values, after: Values, mask: Mask, mlp: Mlp, what: string): void {
  const actual: number[] = [];
  const expected: number[] = [];
  for (let batch = 0; batch < mlp.batch; batch++)
    for (let group = 0; group < mlp.groups; group++)
      for (const [slot, neuron] of mask.at(batch, 0, group).entries()) {
        const valid = Math.min(mlp.group, mlp.tokens - group * mlp.group);
        const [old, now] = [before.row(batch, group, neuron), after.row(batch, group, neuron)];
        for (let i = 0; i < valid; i++) {
          actual.push(delta.at(batch, group, slot, i));
          expected.push((now[i] ?? NaN) - (old[i] ?? NaN));
        }
      }
  const shape = [actual.length];
  const limit = 5 * mlp.tolerance;
  expectClose(
    new Values(shape, Float64Array.from(actual)),
    new Values(shape, Float64Array.from(expected)),
    limit,
    what,
  );
}

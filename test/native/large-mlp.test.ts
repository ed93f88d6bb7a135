import { DeviceTensor } from "../../ffi/index.ts";
import { activate } from "./reference/activation.ts";
import { linear } from "./reference/linear.ts";
import {
  type Bench,
  expectClose,
  expectEqual,
  Mask,
  nativeTests,
  type Operand,
  raggedLists,
  readTensor,
  tolerance,
  Values,
} from "./support.ts";

// Shapes that fill a GPU: more tiles than multiprocessors, layers wider than any tile, groups of several sizes, and
// tokens that fill no group. Some groups of each are compared with the reference.

const native = await nativeTests();

interface Shape {
  readonly tokens: number;
  readonly group: number;
  readonly d: number;
  readonly hidden: number;
  readonly outputs: number;
  readonly capacity: number;
}

/** [1, tokens, d], where each token's row begins 8 elements after the one before: much input of little memory. */
class Tokens {
  readonly tensor: DeviceTensor;
  readonly #line: Operand;

  constructor(bench: Bench, tokens: number, d: number) {
    const STEP = 8;
    const dtype = bench.activationTypes[0] ?? "f32";
    this.#line = bench.normal([tokens * STEP + d], { dtype, layout: "aligned" });
    const { allocation, byteOffset } = this.#line.tensor;
    this.tensor = new DeviceTensor(allocation, dtype, [1, tokens, d], [0, STEP, 1], byteOffset);
  }

  rows(begin: number, end: number): Values {
    const [, step = 0] = this.tensor.stride;
    return Values.build([end - begin, this.tensor.shape[2] ?? 0], (row = 0, i = 0) =>
      this.#line.values.at((begin + row) * step + i),
    );
  }
}

class LargeMlp implements Disposable {
  readonly #bench: Bench;
  readonly #shape: Shape;
  readonly #w1: Operand;
  readonly #b1: Operand;
  readonly #w2t: Operand;
  readonly #b2: Operand;
  readonly #activation: number;
  readonly groups: number;
  readonly slabs: DeviceTensor;
  readonly delta: DeviceTensor;
  readonly means: DeviceTensor;
  readonly out: DeviceTensor;

  constructor(bench: Bench, shape: Shape, activation: number) {
    const { tokens, group, d, hidden, outputs, capacity } = shape;
    this.#bench = bench;
    this.#shape = shape;
    this.#activation = activation;
    const dtype = bench.activationTypes[0] ?? "f32";
    this.#w1 = bench.weight([hidden, d], { layout: "alignedRows" });
    this.#b1 = bench.weight([hidden]);
    this.#w2t = bench.weight([hidden, outputs], { layout: "alignedRows" }, hidden);
    this.#b2 = bench.weight([outputs]);
    this.groups = Math.ceil(tokens / group);
    this.slabs = bench.device.tensor(dtype, [1, this.groups, hidden, group]);
    this.delta = bench.device.tensor(dtype, [1, this.groups, capacity, group]);
    this.means = bench.device.tensor("f32", [1, this.groups, hidden]);
    this.out = bench.device.tensor("f32", [1, tokens, outputs]);
    for (const tensor of [this.slabs, this.delta, this.means, this.out])
      bench.call("tamias_fill", 1e4, tensor);
  }

  refresh(x: Tokens): void {
    const [w1, b1, w2t, b2] = [this.#w1, this.#b1, this.#w2t, this.#b2].map((operand) => operand.tensor);
    if (!w1 || !b1 || !w2t || !b2) throw new Error("There are four parameters.");
    this.#bench.call("tamias_mlp_refresh_fc1", x.tensor, w1, b1, this.#activation, this.slabs, this.means);
    this.#bench.call("tamias_mlp_refresh_fc2", this.slabs, w2t, b2, this.out);
  }

  applyDelta(x: Tokens, mask: Mask): void {
    const [indices, counts] = [mask.indices.tensor, mask.counts.tensor];
    const [w1, b1] = [this.#w1.tensor, this.#b1.tensor];
    this.#bench.call(
      "tamias_mlp_delta_fc1",
      x.tensor,
      w1,
      b1,
      this.#activation,
      indices,
      counts,
      this.slabs,
      this.delta,
    );
    this.#bench.call("tamias_mlp_delta_fc2", this.delta, indices, counts, this.#w2t.tensor, this.out);
  }

  /** The tokens of a group. */
  range(at: number): [number, number] {
    const { group, tokens } = this.#shape;
    return [at * group, Math.min(tokens, (at + 1) * group)];
  }

  /** Pre-activations of a group's tokens, [tokens, hidden]. */
  preActivations(x: Tokens, at: number): Values {
    return linear(x.rows(...this.range(at)), this.#w1.values, this.#b1.values);
  }

  /** A group's activations, [hidden, group], of its pre-activations. */
  activationsOf(preActivations: Values): Values {
    const { hidden, group } = this.#shape;
    return Values.build([hidden, group], (neuron = 0, i = 0) =>
      i < preActivations.size(0) ? activate(this.#activation, preActivations.at(i, neuron)) : 0,
    );
  }

  /** Some of a group's tokens, counted from its first; the last among them. */
  someTokens(at: number): number[] {
    const [begin, end] = this.range(at);
    return [
      ...new Set([...this.#bench.random.subset(Math.min(12, end - begin), end - begin), end - begin - 1]),
    ];
  }

  /** [tokens, outputs]: neurons' values, [neurons, group], times their rows of W2 transposed. */
  product(values: Values, neurons: readonly number[], tokens: readonly number[], withBias: boolean): Values {
    const w2t = this.#w2t.values;
    const result = Values.build([tokens.length, this.#shape.outputs], (_, column = 0) =>
      withBias ? this.#b2.values.at(column) : 0,
    );
    neurons.forEach((neuron, place) => {
      const weights = w2t.row(neuron);
      tokens.forEach((token, row) => {
        const value = values.at(place, token);
        const into = result.row(row);
        for (let column = 0; column < into.length; column++)
          into[column] = (into[column] ?? 0) + value * (weights[column] ?? NaN);
      });
    });
    return result;
  }

  /** One group of [1, groups, rows, group] or of [1, groups, hidden]. */
  group(tensor: DeviceTensor, at: number): Values {
    return readTensor(this.#bench.stream, tensor.select(0, 0).select(0, at));
  }

  /** [tokens, outputs] of some of a group's tokens. */
  outputs(at: number, tokens: readonly number[]): Values {
    const group = readTensor(this.#bench.stream, this.out.select(0, 0).slice(0, ...this.range(at)));
    return Values.build([tokens.length, this.#shape.outputs], (row = 0, column = 0) =>
      group.at(tokens[row] ?? NaN, column),
    );
  }

  [Symbol.dispose](): void {
    for (const tensor of [this.slabs, this.delta, this.means, this.out]) tensor[Symbol.dispose]();
  }
}

const shapes: readonly Shape[] = [
  // 45 groups of 3 tiles and more; the capacities ask for tiles of each width.
  { tokens: 45 * 128 - 71, group: 128, d: 192, hidden: 640, outputs: 576, capacity: 500 },
  { tokens: 45 * 128 - 71, group: 128, d: 64, hidden: 704, outputs: 512, capacity: 672 },
  { tokens: 150 * 128 - 3, group: 128, d: 64, hidden: 512, outputs: 576, capacity: 190 },
  { tokens: 7 * 128 + 1, group: 128, d: 320, hidden: 1088, outputs: 1088, capacity: 448 },
  // What the fastest kernels leave to others.
  { tokens: 25 * 192 - 71, group: 192, d: 192, hidden: 640, outputs: 576, capacity: 300 },
  { tokens: 70 * 64 - 31, group: 64, d: 192, hidden: 640, outputs: 520, capacity: 300 },
  { tokens: 9 * 128 - 5, group: 128, d: 200, hidden: 600, outputs: 520, capacity: 300 },
];

for (const [which, shape] of shapes.entries())
  native.test(`a large MLP, ${JSON.stringify(shape)}`, (bench) => {
    const { random } = bench;
    const { tokens, d, hidden, capacity } = shape;
    using mlp = new LargeMlp(bench, shape, [2, 3, 1, 4, 2, 0, 2][which] ?? 0);
    const [then, now] = [new Tokens(bench, tokens, d), new Tokens(bench, tokens, d)];
    const samples = [...new Set([random.integer(0, mlp.groups - 1), mlp.groups - 1])];
    const limit = tolerance(mlp.slabs.dtype);
    const every = Array.from({ length: hidden }, (_, neuron) => neuron);

    mlp.refresh(then);
    const refreshed = samples.map((at) => {
      const what = `${JSON.stringify(shape)}, group ${at} of ${mlp.groups}`;
      const preActivations = mlp.preActivations(then, at);
      const slab = mlp.group(mlp.slabs, at);
      expectClose(slab, mlp.activationsOf(preActivations), limit, `${what}, activations`);
      const mean = Values.build([hidden], (neuron = 0) => {
        let sum = 0;
        for (let token = 0; token < preActivations.size(0); token++) sum += preActivations.at(token, neuron);
        return sum / preActivations.size(0);
      });
      expectClose(mlp.group(mlp.means, at), mean, limit, `${what}, means`);
      const some = mlp.someTokens(at);
      const out = mlp.outputs(at, some);
      expectClose(out, mlp.product(slab, every, some, true), 1e-4, `${what}, out`);
      return { slab, some, out };
    });

    const lists = { batch: 1, lists: 1, groups: mlp.groups, columns: hidden };
    // A list of every neuron needs room for every neuron.
    const chosen = raggedLists(bench, lists).map((list) =>
      list === "all" || list.length > capacity ? random.subset(capacity, hidden) : list,
    );
    const mask = new Mask(bench, lists, chosen, { capacity, dtype: random.pick(["i32", "u16"]) });
    mlp.applyDelta(now, mask);
    samples.forEach((at, place) => {
      const { slab, some, out } = refreshed[place]!;
      const neurons = mask.at(0, 0, at);
      const what = `${JSON.stringify(shape)}, ${neurons.length} neurons of group ${at} of ${mlp.groups}`;
      const fresh = mlp.activationsOf(mlp.preActivations(now, at));
      const isChosen = new Set(neurons);
      const slabNow = mlp.group(mlp.slabs, at);
      const pick = (values: Values) =>
        Values.build([neurons.length, shape.group], (row = 0, i = 0) => values.at(neurons[row] ?? 0, i));
      expectClose(pick(slabNow), pick(fresh), limit, `${what}, activations`);
      const others = every.filter((neuron) => !isChosen.has(neuron));
      const rest = (values: Values) =>
        Values.build([others.length, shape.group], (row = 0, i = 0) => values.at(others[row] ?? 0, i));
      expectEqual(rest(slabNow), rest(slab), `${what}, other neurons' activations`);
      const delta = mlp.group(mlp.delta, at);
      const own = Values.build([neurons.length, shape.group], (row = 0, i = 0) => delta.at(row, i));
      const before = pick(slab);
      const difference = pick(fresh).map((value, i) => value - (before.data[i] ?? NaN));
      expectClose(own, difference, limit, `${what}, delta`);
      const added = mlp.product(own, neurons, some, false);
      const expected = added.map((value, i) => value + (out.data[i] ?? NaN));
      expectClose(mlp.outputs(at, some), expected, 1e-4, `${what}, out`);
    });
  });

import type { DType } from "../../ffi/index.ts";
import { activations } from "./reference/activation.ts";
import { linear } from "./reference/linear.ts";
import {
  type Bench,
  expectClose,
  nativeTests,
  type Operand,
  rowLayouts,
  tolerance,
  Values,
} from "./support.ts";

const native = await nativeTests();

interface Layer {
  readonly x: Operand;
  readonly weight: Operand;
  readonly bias: Operand | undefined;
  readonly leading: readonly number[];
  readonly outputs: number;
  readonly what: string;
}

/** A layer of random size: one token, few, or more than any kernel's tile. */
function randomLayer(bench: Bench, dtype = bench.random.pick(bench.activationTypes)): Layer {
  const { random } = bench;
  const size = () => random.pick([1, random.integer(2, 20), random.integer(20, 90), 128]);
  const leading = random.chance(0.5) ? [size()] : [random.integer(1, 3), size()];
  const [inputs, outputs] = [size(), size()];
  const weight = bench.weight([outputs, inputs], { layout: "rows" });
  const bias = random.chance(0.7) ? bench.weight([outputs]) : undefined;
  const x = bench.normal([...leading, inputs], { dtype, layout: random.pick(rowLayouts) });
  const what = `${dtype} [${x.tensor.shape.join(", ")}] x ${weight.tensor.dtype} [${outputs}, ${inputs}]`;
  return { x, weight, bias, leading, outputs, what };
}

native.test("linear layers of any size, dtype and stride", (bench) => {
  for (let round = 0; round < 40; round++) {
    const { x, weight, bias, leading, outputs, what } = randomLayer(bench);
    const { dtype } = x.tensor;
    const out = bench.output([...leading, outputs], { dtype, layout: bench.random.pick(rowLayouts) });
    bench.call("tamias_linear", x.tensor, weight.tensor, bias?.tensor ?? null, 0, 0, out.tensor);
    const expected = linear(x.values, weight.values, bias?.values);
    expectClose(out.read(), expected, tolerance(dtype), `${what} ${bias ? "with" : "without"} bias`);
  }
});

for (const [code, { name }] of activations.entries())
  native.test(`linear, then ${name}`, (bench) => {
    for (const dtype of bench.activationTypes)
      for (let round = 0; round < 4; round++) {
        const { x, weight, bias, leading, outputs, what } = randomLayer(bench, dtype);
        const out = bench.output([...leading, outputs], { dtype, layout: bench.random.pick(rowLayouts) });
        bench.call("tamias_linear", x.tensor, weight.tensor, bias?.tensor ?? null, code, 0, out.tensor);
        const expected = linear(x.values, weight.values, bias?.values, code);
        expectClose(out.read(), expected, tolerance(dtype), `${what}, ${name}`);
      }
  });

native.test("each dtype of weight, at one token and at many", (bench) => {
  for (const dtype of bench.activationTypes)
    for (const weightType of bench.weightTypes)
      for (const tokens of [1, 2, 7, 33, 150]) {
        const [inputs, outputs] = [bench.random.integer(100, 300), bench.random.integer(100, 300)];
        const x = bench.normal([tokens, inputs], { dtype });
        const weight = bench.weight([outputs, inputs], { dtype: weightType });
        const bias = bench.weight([outputs], { dtype: weightType });
        const out = bench.output([tokens, outputs], { dtype });
        bench.call("tamias_linear", x.tensor, weight.tensor, bias.tensor, 0, 0, out.tensor);
        const what = `${dtype} [${tokens}, ${inputs}] x ${weightType} [${outputs}, ${inputs}]`;
        expectClose(out.read(), linear(x.values, weight.values, bias.values), tolerance(dtype), what);
      }
});

native.test("column slices of a wider weight, summed into one output, are the whole layer", (bench) => {
  for (const dtype of bench.activationTypes)
    for (const weightType of bench.weightTypes) {
      const [tokens, first, second, outputs] = [11, 37, 52, 29];
      const x = bench.normal([tokens, first + second], { dtype });
      const weight = bench.weight([outputs, first + second], { dtype: weightType });
      const bias = bench.weight([outputs], { dtype: weightType });
      const out = bench.output([tokens, outputs], { dtype, layout: "rows" });
      const [left, right] = [x.tensor.slice(1, 0, first), x.tensor.slice(1, first, first + second)];
      bench.call("tamias_linear", left, weight.tensor.slice(1, 0, first), bias.tensor, 0, 0, out.tensor);
      bench.call(
        "tamias_linear",
        right,
        weight.tensor.slice(1, first, first + second),
        null,
        0,
        1,
        out.tensor,
      );
      const expected = linear(x.values, weight.values, bias.values);
      expectClose(out.read(), expected, tolerance(dtype), `${dtype} x ${weightType}`);
    }
});

native.test("accumulates with a bias onto what is there", (bench) => {
  for (let round = 0; round < 8; round++) {
    const { x, weight, bias, leading, outputs, what } = randomLayer(bench);
    const { dtype } = x.tensor;
    const out = bench.normal([...leading, outputs], { dtype, layout: bench.random.pick(rowLayouts) });
    bench.call("tamias_linear", x.tensor, weight.tensor, bias?.tensor ?? null, 0, 1, out.tensor);
    const added = linear(x.values, weight.values, bias?.values);
    const expected = added.map((value, at) => value + (out.values.data[at] ?? NaN));
    expectClose(out.read(), expected, tolerance(dtype), `${what}, accumulated`);
  }
});

native.test("a layer of a transformer's size", (bench) => {
  const dtype = bench.activationTypes[0] ?? "f32";
  const [tokens, inputs, outputs] = [130, 384, 1536];
  const x = bench.normal([1, tokens, inputs], { dtype });
  const weight = bench.weight([outputs, inputs], { dtype: "bf16" });
  const bias = bench.weight([outputs], { dtype: "bf16" });
  const out = bench.output([1, tokens, outputs], { dtype });
  bench.call("tamias_linear", x.tensor, weight.tensor, bias.tensor, 2, 0, out.tensor);
  expectClose(out.read(), linear(x.values, weight.values, bias.values, 2), tolerance(dtype), "fc1");
});

/** A layer's weight as a view of rows [inputs, outputs], a part of longer rows. */
function transposedWeight(bench: Bench, outputs: number, inputs: number, dtype: DType) {
  const { random } = bench;
  const [before, after] = [random.integer(0, 5), random.pick([0, random.integer(0, 9)])];
  const rows = bench.weight([inputs, before + outputs + after], { dtype, layout: "rows" }, inputs);
  const values = Values.build([outputs, inputs], (n = 0, i = 0) => rows.values.at(i, before + n));
  return { tensor: rows.tensor.slice(1, before, before + outputs).permute(1, 0), values };
}

native.test("a transposed weight of any size, dtype and stride", (bench) => {
  const { random } = bench;
  const size = () => random.pick([1, random.integer(2, 20), random.integer(20, 90), 128]);
  for (const dtype of bench.activationTypes)
    for (const weightType of new Set<DType>([...bench.weightTypes, "f32"]))
      for (let round = 0; round < 20; round++) {
        const leading = random.chance(0.5) ? [size()] : [random.integer(1, 3), size()];
        const [inputs, outputs] = [size(), size()];
        const accumulate = random.chance(0.3);
        const activation = accumulate ? 0 : random.integer(0, 4);
        const weight = transposedWeight(bench, outputs, inputs, weightType);
        const bias = random.chance(0.7) ? bench.weight([outputs]) : undefined;
        const x = bench.normal([...leading, inputs], { dtype, layout: random.pick(rowLayouts) });
        const out = bench.normal([...leading, outputs], { dtype, layout: random.pick(rowLayouts) });
        bench.call(
          "tamias_linear",
          x.tensor,
          weight.tensor,
          bias?.tensor ?? null,
          activation,
          accumulate ? 1 : 0,
          out.tensor,
        );
        const added = linear(x.values, weight.values, bias?.values, activation);
        const expected = added.map((value, at) => value + (accumulate ? (out.values.data[at] ?? NaN) : 0));
        const what = `${dtype} [${leading.join(", ")}, ${inputs}] x ${weightType} [${outputs}, ${inputs}]`;
        expectClose(out.read(), expected, tolerance(dtype), `${what} transposed, activation ${activation}`);
      }
});

native.test("an fc2 of a transformer's size, its weight transposed or not", (bench) => {
  const dtype = bench.activationTypes[0] ?? "f32";
  const [inputs, outputs] = [1536, 384];
  const weight = bench.weight([outputs, inputs]);
  const transposed = bench.output([inputs, outputs], { dtype: weight.tensor.dtype });
  bench.call("tamias_copy", weight.tensor.permute(1, 0), transposed.tensor);
  for (const tokens of [1, 3, 130]) {
    const x = bench.normal([1, tokens, inputs], { dtype });
    const expected = linear(x.values, weight.values);
    for (const given of [weight.tensor, transposed.tensor.permute(1, 0)]) {
      const out = bench.output([1, tokens, outputs], { dtype });
      bench.call("tamias_linear", x.tensor, given, null, 0, 0, out.tensor);
      expectClose(
        out.read(),
        expected,
        tolerance(dtype),
        `${tokens} tokens, stride [${given.stride.join()}]`,
      );
    }
  }
});

native.test("the same call gives the same bits", (bench) => {
  for (let round = 0; round < 5; round++) {
    const { x, weight, bias, leading, outputs, what } = randomLayer(bench);
    const results = [0, 1].map(() => {
      const out = bench.output([...leading, outputs], { dtype: x.tensor.dtype });
      bench.call("tamias_linear", x.tensor, weight.tensor, bias?.tensor ?? null, 1, 0, out.tensor);
      return out.read();
    });
    expectClose(results[0] ?? new Values([0]), results[1] ?? new Values([0]), 0, what);
  }
});

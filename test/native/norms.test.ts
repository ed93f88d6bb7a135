import { layerNorm, rmsNorm } from "./reference/norms.ts";
import { rope, type RopeLayout } from "./reference/rope.ts";
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
const ropeLayouts: readonly RopeLayout[] = ["pairs", "halves"];

function maybe(bench: Bench, make: () => Operand): Operand | undefined {
  return bench.random.chance(0.6) ? make() : undefined;
}

native.test("layer norm with any of its parameters, and in place", (bench) => {
  const { random } = bench;
  for (const dtype of bench.activationTypes)
    for (let round = 0; round < 16; round++) {
      const shape = [random.integer(1, 3), random.integer(1, 40), random.integer(8, 300)];
      const [batch = 0, , d = 0] = shape;
      const x = bench.uniform(shape, -2, 5, { dtype, layout: random.pick(rowLayouts) });
      const weight = maybe(bench, () => bench.weight([d]));
      const bias = maybe(bench, () => bench.weight([d]));
      const scale = maybe(bench, () => bench.normal([batch, d], { dtype, layout: "rows" }));
      const shift = maybe(bench, () => bench.normal([batch, d], { dtype, layout: "rows" }));
      const epsilon = Math.fround(random.pick([1e-6, 1e-5, 0.1]));
      const out = bench.output(shape, { dtype, layout: random.pick(rowLayouts) });
      const expected = layerNorm(x.values, epsilon, {
        weight: weight?.values,
        bias: bias?.values,
        scale: scale?.values,
        shift: shift?.values,
      });
      const run = (into: Operand) =>
        bench.call(
          "tamias_layer_norm",
          x.tensor,
          weight?.tensor ?? null,
          bias?.tensor ?? null,
          scale?.tensor ?? null,
          shift?.tensor ?? null,
          epsilon,
          into.tensor,
        );
      const given = Object.entries({ weight, bias, scale, shift }).filter(([, operand]) => operand);
      const what = `${dtype} [${shape.join(", ")}] ${given.map(([name]) => name).join(" ")}`;
      run(out);
      expectClose(out.read(), expected, tolerance(dtype), what);
      run(x);
      expectClose(x.read(), expected, tolerance(dtype), `${what} in place`);
    }
});

native.test("layer norm keeps its precision far from zero", (bench) => {
  const x = bench.uniform([1, 5, 257], 1000, 1001);
  const out = bench.output([1, 5, 257]);
  bench.call("tamias_layer_norm", x.tensor, null, null, null, null, 1e-6, out.tensor);
  expectClose(out.read(), layerNorm(x.values, Math.fround(1e-6), {}), 1e-3, "values around 1000");
});

native.test("RMS norm of ranks 2 to 4, and in place", (bench) => {
  const { random } = bench;
  for (const dtype of bench.activationTypes)
    for (let round = 0; round < 12; round++) {
      const rank = random.integer(2, 4);
      const shape = [
        ...Array.from({ length: rank - 1 }, () => random.integer(1, 12)),
        random.integer(1, 300),
      ];
      const x = bench.normal(shape, { dtype, layout: random.pick(rowLayouts) });
      const weight = maybe(bench, () =>
        bench.uniform([shape.at(-1) ?? 0], 0.5, 2, { dtype: random.pick(bench.weightTypes) }),
      );
      const epsilon = Math.fround(random.pick([1e-6, 1e-5]));
      const out = bench.output(shape, { dtype, layout: random.pick(rowLayouts) });
      const expected = rmsNorm(x.values, epsilon, weight?.values);
      bench.call("tamias_rms_norm", x.tensor, weight?.tensor ?? null, epsilon, out.tensor);
      expectClose(out.read(), expected, tolerance(dtype), `${dtype} [${shape.join(", ")}]`);
      bench.call("tamias_rms_norm", x.tensor, weight?.tensor ?? null, epsilon, x.tensor);
      expectClose(x.read(), expected, tolerance(dtype), `${dtype} [${shape.join(", ")}] in place`);
    }
});

native.test("rows of zeros stay finite", (bench) => {
  const x = bench.uniform([1, 3, 20], 0, 0);
  const out = bench.output([1, 3, 20]);
  bench.call("tamias_layer_norm", x.tensor, null, null, null, null, 1e-6, out.tensor);
  expectClose(out.read(), new Values([1, 3, 20]), 0, "layer norm");
  bench.call("tamias_rms_norm", x.tensor, null, 1e-6, out.tensor);
  expectClose(out.read(), new Values([1, 3, 20]), 0, "RMS norm");
});

for (const [code, layout] of ropeLayouts.entries())
  native.test(`rotary embedding of ${layout}, with and without the norm, and in place`, (bench) => {
    const { random } = bench;
    for (const dtype of bench.activationTypes)
      for (let round = 0; round < 20; round++) {
        const headDim = random.pick([2, 6, 8, 12, 24, 64, 100, 128]);
        const shape = [random.integer(1, 2), random.integer(1, 5), random.integer(1, 30), headDim];
        const tokens = shape[2] ?? 0;
        const x = bench.normal(shape, { dtype, layout: random.pick(rowLayouts) });
        const weight = maybe(bench, () =>
          bench.uniform([headDim], 0.5, 2, { dtype: random.pick(bench.weightTypes) }),
        );
        const turn = maybe(bench, () => bench.uniform([tokens, headDim / 2], -7, 7));
        const cos = turn && bench.input(turn.values.map(Math.cos));
        const sin = turn && bench.input(turn.values.map(Math.sin));
        const epsilon = Math.fround(1e-6);
        const normal = weight ? rmsNorm(x.values, epsilon, weight.values) : x.values;
        const expected = cos && sin ? rope(normal, cos.values, sin.values, layout) : normal;
        const run = (into: Operand) =>
          bench.call(
            "tamias_norm_rope",
            x.tensor,
            weight?.tensor ?? null,
            epsilon,
            cos?.tensor ?? null,
            sin?.tensor ?? null,
            code,
            into.tensor,
          );
        const what = `${dtype} [${shape.join(", ")}]${weight ? " norm" : ""}${turn ? " rotation" : ""}`;
        const out = bench.output(shape, { dtype, layout: random.pick(rowLayouts) });
        run(out);
        expectClose(out.read(), expected, tolerance(dtype), what);
        run(x);
        expectClose(x.read(), expected, tolerance(dtype), `${what} in place`);
      }
  });

native.test("heads of one wide projection are normed and rotated where they lie", (bench) => {
  const [tokens, heads, headDim] = [21, 3, 16];
  for (const dtype of bench.activationTypes) {
    const wide = bench.normal([1, tokens, 3 * heads * headDim], { dtype });
    const [turn, weight] = [bench.uniform([tokens, headDim / 2], -7, 7), bench.weight([headDim])];
    const [cos, sin] = [bench.input(turn.values.map(Math.cos)), bench.input(turn.values.map(Math.sin))];
    const keys = wide.tensor.reshape(1, tokens, 3, heads, headDim).select(2, 1).permute(0, 2, 1, 3);
    bench.call("tamias_norm_rope", keys, weight.tensor, 1e-6, cos.tensor, sin.tensor, 0, keys);
    const before = wide.values.reshape(1, tokens, 3, heads, headDim);
    const own = Values.build([1, heads, tokens, headDim], (_, head = 0, token = 0, i = 0) =>
      before.at(0, token, 1, head, i),
    );
    const turned = rope(rmsNorm(own, Math.fround(1e-6), weight.values), cos.values, sin.values, "pairs");
    const expected = Values.build(before.shape, (_, token = 0, part = 0, head = 0, i = 0) =>
      part === 1 ? turned.at(0, head, token, i) : before.at(0, token, part, head, i),
    );
    expectClose(wide.read().reshape(...before.shape), expected, tolerance(dtype), dtype);
  }
});

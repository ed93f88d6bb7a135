import { activations } from "./reference/activation.ts";
import { allLayouts, type Bench, expectClose, nativeTests, tolerance, Values } from "./support.ts";

const native = await nativeTests();

function randomShape({ random }: Bench): number[] {
  const rank = random.integer(1, 6);
  return Array.from({ length: rank }, () => random.integer(1, [0, 3000, 60, 14, 7, 5, 4][rank] ?? 4));
}

for (const [code, { name, apply }] of activations.entries())
  native.test(`${name} of any shape and strides, and in place`, (bench) => {
    for (const dtype of bench.activationTypes)
      for (let round = 0; round < 6; round++) {
        const shape = randomShape(bench);
        const x = bench.uniform(shape, -12, 12, { dtype, layout: bench.random.pick(allLayouts) });
        const out = bench.output(shape, { dtype, layout: bench.random.pick(allLayouts) });
        const expected = x.values.map(apply);
        bench.call("tamias_activate", code, x.tensor, out.tensor);
        expectClose(out.read(), expected, tolerance(dtype), `${dtype} [${shape.join(", ")}]`);
        bench.call("tamias_activate", code, x.tensor, x.tensor);
        expectClose(x.read(), expected, tolerance(dtype), `${dtype} [${shape.join(", ")}] in place`);
      }
  });

native.test("activations of huge values stay finite where they should", (bench) => {
  const extremes = [0, -0, 1e-30, -1e-30, 30, -30, 90, -90, 1000, -1000, 1e30, -1e30, 3e38, -3e38];
  for (const [code, { name, apply }] of activations.entries()) {
    const x = bench.input(new Values([extremes.length], Float64Array.from(extremes)));
    const out = bench.output([extremes.length]);
    bench.call("tamias_activate", code, x.tensor, out.tensor);
    const actual = out.read();
    for (const [at, extreme] of extremes.entries()) {
      const expected = new Values([1], Float64Array.of(apply(x.values.at(at))));
      // Below the smallest normal float, and where tanh rounds to -1, the answer is 0 or nearly so.
      const is = new Values([1], Float64Array.of(actual.at(at)));
      if (Math.abs(expected.at(0)) > 1e-5 || !(Math.abs(is.at(0)) < 1e-5))
        expectClose(is, expected, 1e-5, `${name}(${extreme})`);
    }
  }
});

native.test("combine adds multiples of any two views", (bench) => {
  for (const dtype of bench.activationTypes)
    for (let round = 0; round < 20; round++) {
      const shape = randomShape(bench);
      const a = bench.normal(shape, { dtype, layout: bench.random.pick(allLayouts) });
      const b = bench.normal(shape, { dtype, layout: bench.random.pick(allLayouts) });
      const out = bench.output(shape, { dtype, layout: bench.random.pick(allLayouts) });
      const alpha = Math.fround(bench.random.pick([0, 1, -1, bench.random.normal()]));
      const beta = Math.fround(bench.random.pick([0, 1, -1, bench.random.normal()]));
      const expected = a.values.map((value, at) => alpha * value + beta * (b.values.data[at] ?? NaN));
      const what = `${dtype} ${alpha} a + ${beta} b [${shape.join(", ")}]`;
      bench.call("tamias_combine", alpha, a.tensor, beta, b.tensor, out.tensor);
      expectClose(out.read(), expected, tolerance(dtype), what);
      bench.call("tamias_combine", alpha, a.tensor, beta, b.tensor, a.tensor);
      expectClose(a.read(), expected, tolerance(dtype), `${what} in place of a`);
    }
});

native.test("combine and multiply repeat dimensions whose stride is 0, in place too", (bench) => {
  for (const dtype of bench.activationTypes) {
    const shape = [3, 5, 17];
    const x = bench.normal(shape, { dtype, layout: "rows" });
    for (const [reduced, at] of [
      [[1, 1, 17], (_: number, __: number, k: number) => [0, 0, k]],
      [[3, 1, 1], (i: number) => [i, 0, 0]],
      [[1, 5, 1], (_: number, j: number) => [0, j, 0]],
      [[1, 1, 1], () => [0, 0, 0]],
      [[3, 1, 17], (i: number, _: number, k: number) => [i, 0, k]],
    ] as const) {
      const small = bench.normal(reduced, { dtype });
      const repeated = small.tensor.expand(...shape);
      const element = (i = 0, j = 0, k = 0) => small.values.at(...at(i, j, k));
      const out = bench.output(shape, { dtype });
      const sum = Values.build(shape, (i = 0, j = 0, k = 0) => x.values.at(i, j, k) + element(i, j, k));
      const product = Values.build(shape, (i = 0, j = 0, k = 0) => x.values.at(i, j, k) * element(i, j, k));
      bench.call("tamias_combine", 1, x.tensor, 1, repeated, out.tensor);
      expectClose(out.read(), sum, tolerance(dtype), `x + [${reduced.join(", ")}]`);
      bench.call("tamias_multiply", repeated, x.tensor, out.tensor);
      expectClose(out.read(), product, tolerance(dtype), `[${reduced.join(", ")}] * x`);
      const copy = bench.input(x.values, { dtype });
      bench.call("tamias_multiply", copy.tensor, repeated, copy.tensor);
      expectClose(copy.read(), product, tolerance(dtype), `x *= [${reduced.join(", ")}]`);
    }
  }
});

native.test("multiply takes any strides", (bench) => {
  for (const dtype of bench.activationTypes)
    for (let round = 0; round < 10; round++) {
      const shape = randomShape(bench);
      const a = bench.normal(shape, { dtype, layout: bench.random.pick(allLayouts) });
      const b = bench.normal(shape, { dtype, layout: bench.random.pick(allLayouts) });
      const out = bench.output(shape, { dtype, layout: bench.random.pick(allLayouts) });
      bench.call("tamias_multiply", a.tensor, b.tensor, out.tensor);
      const expected = a.values.map((value, at) => value * (b.values.data[at] ?? NaN));
      expectClose(out.read(), expected, tolerance(dtype), `${dtype} [${shape.join(", ")}]`);
    }
});

native.test("gate_residual adds the gated branch to the stream", (bench) => {
  const { random } = bench;
  for (const dtype of bench.activationTypes)
    for (let round = 0; round < 8; round++) {
      const shape = [random.integer(1, 3), random.integer(1, 40), random.integer(1, 70)];
      const [batch = 0, , d = 0] = shape;
      const residual = bench.normal(shape, { dtype, layout: random.pick(allLayouts) });
      const x = bench.normal(shape, { dtype, layout: random.pick(allLayouts) });
      const gate = bench.normal([batch, d], { dtype, layout: random.pick(allLayouts) });
      const out = bench.output(shape, { dtype, layout: random.pick(allLayouts) });
      const expected = Values.build(
        shape,
        (i = 0, j = 0, k = 0) => residual.values.at(i, j, k) + gate.values.at(i, k) * x.values.at(i, j, k),
      );
      bench.call("tamias_gate_residual", residual.tensor, gate.tensor, x.tensor, out.tensor);
      expectClose(out.read(), expected, tolerance(dtype), `${dtype} [${shape.join(", ")}]`);
      bench.call("tamias_gate_residual", residual.tensor, gate.tensor, x.tensor, residual.tensor);
      expectClose(residual.read(), expected, tolerance(dtype), `${dtype} [${shape.join(", ")}] in place`);
    }
});

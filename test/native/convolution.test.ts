import { expect } from "bun:test";
import { activate } from "./reference/activation.ts";
import { conv2d, groupNorm, type Padding } from "./reference/convolution.ts";
import {
  type Bench,
  expectClose,
  expectEqual,
  nativeTests,
  type Operand,
  tolerance,
  Values,
} from "./support.ts";

const native = await nativeTests();

interface Convolution {
  readonly kernel: readonly [number, number];
  readonly stride: number;
  readonly pad: Padding;
}

function check(
  bench: Bench,
  { kernel, stride, pad }: Convolution,
  shape: readonly number[],
  outputs: number,
): void {
  for (const dtype of bench.activationTypes) {
    const [batch = 0, channels = 0] = shape;
    const x = bench.normal(shape, { dtype });
    const weight = bench.weight([outputs, channels, ...kernel]);
    const bias = bench.random.chance(0.7) ? bench.weight([outputs]) : undefined;
    const expected = conv2d(x.values, weight.values, bias?.values, stride, pad);
    const out = bench.output([batch, outputs, expected.size(2), expected.size(3)], { dtype });
    bench.call(
      "tamias_conv2d",
      x.tensor,
      weight.tensor,
      bias?.tensor ?? null,
      stride,
      pad.top,
      pad.bottom,
      pad.left,
      pad.right,
      out.tensor,
    );
    const what =
      `${dtype} [${shape.join(", ")}] * ${weight.tensor.dtype} [${outputs}, ${kernel.join(" x ")}] ` +
      `stride ${stride} pad ${Object.values(pad).join(" ")}`;
    expectClose(out.read(), expected, tolerance(dtype), what);
  }
}

function same(size: number): Padding {
  return { top: size, bottom: size, left: size, right: size };
}

function randomPicture({ random }: Bench, smallest = 1): number[] {
  return [
    random.integer(1, 2),
    random.integer(1, 20),
    random.integer(smallest, 20),
    random.integer(smallest, 20),
  ];
}

native.test("3 x 3 convolutions that keep the size", (bench) => {
  for (let round = 0; round < 8; round++)
    check(
      bench,
      { kernel: [3, 3], stride: 1, pad: same(1) },
      randomPicture(bench),
      bench.random.integer(1, 30),
    );
});

native.test("1 x 1 convolutions", (bench) => {
  for (let round = 0; round < 6; round++)
    check(
      bench,
      { kernel: [1, 1], stride: 1, pad: same(0) },
      randomPicture(bench),
      bench.random.integer(1, 30),
    );
});

native.test("convolutions that halve the size, padded on one side only", (bench) => {
  const pad = { top: 0, bottom: 1, left: 0, right: 1 };
  for (let round = 0; round < 6; round++)
    check(bench, { kernel: [3, 3], stride: 2, pad }, randomPicture(bench, 2), bench.random.integer(1, 30));
});

native.test("convolutions of any kernel, stride and padding", (bench) => {
  const { random } = bench;
  for (let round = 0; round < 12; round++) {
    const side = () => random.integer(0, 3);
    const pad = { top: side(), bottom: side(), left: side(), right: side() };
    const kernel = [random.integer(1, 5), random.integer(1, 5)] as const;
    check(
      bench,
      { kernel, stride: random.integer(1, 3), pad },
      randomPicture(bench, 5),
      random.integer(1, 12),
    );
  }
});

native.test("pictures that are convolved in bands of rows", (bench) => {
  const { random } = bench;
  for (const stride of [1, 2]) {
    const pad = { top: random.integer(0, 2), bottom: random.integer(0, 2), left: 1, right: 1 };
    check(bench, { kernel: [3, 3], stride, pad }, [1, 3, 900 + random.integer(0, 9), 3000], 4);
  }
});

native.test("a picture whose padding is larger than itself", (bench) => {
  check(bench, { kernel: [3, 3], stride: 1, pad: same(4) }, [1, 3, 1, 1], 5);
});

native.test("group norm with any groups and activation, and in place", (bench) => {
  const { random } = bench;
  for (const dtype of bench.activationTypes)
    for (let round = 0; round < 15; round++) {
      const groups = random.integer(1, 8);
      const channels = groups * random.integer(1, 5);
      const shape = [random.integer(1, 2), channels, random.integer(2, 15), random.integer(4, 15)];
      const x = bench.uniform(shape, -1, 4, { dtype });
      const weight = random.chance(0.7) ? bench.uniform([channels], 0.5, 2) : undefined;
      const bias = random.chance(0.7) ? bench.normal([channels]) : undefined;
      const activation = random.integer(0, 4);
      const epsilon = Math.fround(1e-6);
      const expected = groupNorm(x.values, groups, epsilon, {
        weight: weight?.values,
        bias: bias?.values,
        activation,
      });
      const run = (into: Operand) =>
        bench.call(
          "tamias_group_norm",
          x.tensor,
          groups,
          null,
          weight?.tensor ?? null,
          bias?.tensor ?? null,
          epsilon,
          activation,
          into.tensor,
        );
      const out = bench.output(shape, { dtype });
      const what = `${dtype} [${shape.join(", ")}] in ${groups} groups, activation ${activation}`;
      run(out);
      expectClose(out.read(), expected, tolerance(dtype), what);
      run(x);
      expectClose(x.read(), expected, tolerance(dtype), `${what} in place`);
    }
});

native.test("group norm keeps its precision far from zero", (bench) => {
  const x = bench.uniform([1, 4, 30, 31], 500, 501);
  const out = bench.output([1, 4, 30, 31]);
  bench.call("tamias_group_norm", x.tensor, 2, null, null, null, 1e-6, 0, out.tensor);
  expectClose(out.read(), groupNorm(x.values, 2, Math.fround(1e-6), {}), 1e-3, "values around 500");
});

native.test("a picture's parts, measured one by one, are normalised as its whole is", (bench) => {
  const { random } = bench;
  for (const dtype of bench.activationTypes)
    for (let round = 0; round < 6; round++) {
      const groups = random.integer(1, 4);
      const [batch, channels, height, width] = [2, groups * random.integer(1, 4), 24, 16] as const;
      const x = bench.uniform([batch, channels, height, width], 3, 5, { dtype });
      const expected = groupNorm(x.values, groups, Math.fround(1e-6), { activation: 1 });
      const cuts = [0, random.integer(1, 11), random.integer(12, 23), height];
      const moments = bench.input(new Values([batch, groups, 3]));
      const parts = cuts.slice(1).map((to, at) => {
        const from = cuts[at]!;
        const rows = Values.build([batch, channels, to - from, width], (n = 0, c = 0, y = 0, z = 0) =>
          x.values.at(n, c, from + y, z),
        );
        return { from, to, rows: bench.input(rows, { dtype }) };
      });
      for (const { rows } of parts) bench.call("tamias_group_moments", rows.tensor, groups, moments.tensor);
      for (const { from, to, rows } of parts) {
        bench.call(
          "tamias_group_norm",
          rows.tensor,
          groups,
          moments.tensor,
          null,
          null,
          1e-6,
          1,
          rows.tensor,
        );
        const wanted = Values.build(rows.values.shape, (n = 0, c = 0, y = 0, z = 0) =>
          expected.at(n, c, from + y, z),
        );
        expectClose(rows.read(), wanted, tolerance(dtype), `${dtype} rows ${from} to ${to - 1}`);
      }
    }
});

native.test("up-sampling repeats pixels", (bench) => {
  for (const dtype of bench.activationTypes)
    for (const factor of [1, 2, 3]) {
      const [batch = 0, channels = 0, height = 0, width = 0] = randomPicture(bench);
      const x = bench.normal([batch, channels, height, width], { dtype });
      const shape = [batch, channels, height * factor, width * factor];
      const out = bench.output(shape, { dtype });
      bench.call("tamias_upsample_nearest", x.tensor, factor, out.tensor);
      const expected = Values.build(shape, (i = 0, j = 0, y = 0, z = 0) =>
        x.values.at(i, j, Math.floor(y / factor), Math.floor(z / factor)),
      );
      expectEqual(out.read(), expected, `${dtype} x ${factor}`);
    }
});

native.test("pictures are clamped, rounded to nearest, and interleaved", (bench) => {
  for (const [height, width] of [
    [1, 1],
    [5, 7],
    [33, 65],
  ] as const) {
    const x = bench.uniform([3, height, width], -1.3, 1.3);
    const out = bench.output([height, width, 3], { dtype: "u8" });
    bench.call("tamias_image_rgb8", x.tensor, out.tensor);
    const pixels = out.read();
    for (let at = 0; at < pixels.data.length; at++) {
      const position = Math.floor(at / 3);
      const value = x.values.at(at % 3, Math.floor(position / width), position % width);
      const exact = (Math.min(1, Math.max(-1, value)) + 1) * 127.5;
      expect(Math.abs((pixels.data[at] ?? NaN) - exact)).toBeLessThanOrEqual(0.5 + 1e-4);
    }
  }
});

native.test("the ends of the range are black and white, infinities too, and NaN is a colour", (bench) => {
  const values = [-1, 1, -Infinity, Infinity, 0.999, -0.999, NaN, 0, 1e30];
  const x = bench.input(new Values([3, 1, 3], Float64Array.from(values)));
  const out = bench.output([1, 3, 3], { dtype: "u8" });
  bench.call("tamias_image_rgb8", x.tensor, out.tensor);
  const pixels = out.read();
  const channel = (which: number) => [0, 1, 2].map((column) => pixels.at(0, column, which));
  expect(channel(0)).toEqual([0, 255, 0]);
  expect(channel(1)).toEqual([255, 255, 0]);
  expect([127, 128]).toContain(channel(2)[1] ?? -1);
  expect(channel(2)[2]).toBe(255);
  const once = channel(2)[0];
  bench.call("tamias_image_rgb8", x.tensor, out.tensor);
  expect(out.read().at(0, 0, 2)).toBe(once ?? -1);
});

native.test("a group of one value is its bias, then the activation", (bench) => {
  const x = bench.normal([1, 3, 1, 1]);
  const out = bench.output([1, 3, 1, 1]);
  const bias = bench.normal([3]);
  bench.call("tamias_group_norm", x.tensor, 3, null, null, bias.tensor, 1e-6, 1, out.tensor);
  const expected = bias.values.map((value) => activate(1, value)).reshape(1, 3, 1, 1);
  // 1 / sqrt(epsilon) makes a thousand roundings of the difference to the mean.
  expectClose(out.read(), expected, 1e-3, "the bias alone");
});

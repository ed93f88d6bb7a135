import type { DType } from "../../ffi/index.ts";
import { allLayouts, type Bench, expectEqual, nativeTests, rowLayouts, stored, Values } from "./support.ts";

const native = await nativeTests();
const floatTypes: readonly DType[] = ["f32", "bf16", "f16"];

function randomShape({ random }: Bench, rank: number, limit: number): number[] {
  return Array.from({ length: rank }, () => random.integer(1, limit));
}

for (let rank = 1; rank <= 6; rank++)
  native.test(`copies rank ${rank} between any strides`, (bench) => {
    for (let round = 0; round < 12; round++) {
      const shape = randomShape(bench, rank, [0, 200, 70, 20, 9, 6, 4][rank] ?? 4);
      const layouts = [bench.random.pick(allLayouts), bench.random.pick(allLayouts)] as const;
      const x = bench.normal(shape, { layout: layouts[0] });
      const out = bench.output(shape, { layout: layouts[1] });
      bench.call("tamias_copy", x.tensor, out.tensor);
      expectEqual(out.read(), x.values, `[${shape.join(", ")}] ${layouts.join(" to ")}`);
    }
  });

native.test("converts between the floating dtypes, rounding to the nearest even", (bench) => {
  const special = [
    0,
    -0,
    1,
    -1,
    NaN,
    Infinity,
    -Infinity,
    1 + 2 ** -8,
    1 + 3 * 2 ** -8,
    1 + 2 ** -11,
    1e-6,
    65_519,
  ];
  for (const from of floatTypes)
    for (const to of floatTypes) {
      const values = new Values([5, 41]).map((_, at) => special[at] ?? bench.random.normal() * 10);
      const x = bench.input(values, { dtype: from, layout: bench.random.pick(allLayouts) });
      const out = bench.output([5, 41], { dtype: to, layout: bench.random.pick(allLayouts) });
      bench.call("tamias_copy", x.tensor, out.tensor);
      expectEqual(
        out.read(),
        x.values.map((value) => stored(to, value)),
        `${from} to ${to}`,
      );
    }
});

native.test("copies every dtype to itself", (bench) => {
  for (const dtype of ["i8", "i32", "u16", "u8", "f8_e4m3"] as const) {
    const values = new Values([7, 3, 11]).map(() => bench.random.integer(0, 100));
    const x = bench.input(values, { dtype, layout: bench.random.pick(allLayouts) });
    const out = bench.output([7, 3, 11], { dtype, layout: bench.random.pick(allLayouts) });
    bench.call("tamias_copy", x.tensor, out.tensor);
    expectEqual(out.read(), x.values, dtype);
  }
});

native.test("repeats dimensions whose stride is 0", (bench) => {
  const x = bench.normal([3, 1, 5], { layout: "rows" });
  const out = bench.output([3, 4, 5], { layout: "heads" });
  bench.call("tamias_copy", x.tensor.expand(3, 4, 5), out.tensor);
  expectEqual(
    out.read(),
    Values.build([3, 4, 5], (i = 0, _, j = 0) => x.values.at(i, 0, j)),
    "expanded",
  );
});

native.test("transposes, slices and concatenates through views", (bench) => {
  const [rows, columns] = [bench.random.integer(50, 300), bench.random.integer(50, 300)];
  const a = bench.normal([rows, columns]);
  const b = bench.normal([rows, 7]);
  const out = bench.output([columns + 7, rows]);
  bench.call("tamias_copy", a.tensor.permute(1, 0), out.tensor.slice(0, 0, columns));
  bench.call("tamias_copy", b.tensor.permute(1, 0), out.tensor.slice(0, columns, columns + 7));
  expectEqual(
    out.read(),
    Values.build([columns + 7, rows], (i = 0, j = 0) =>
      i < columns ? a.values.at(j, i) : b.values.at(j, i - columns),
    ),
    `[${rows}, ${columns}]`,
  );
});

native.test("fills any dtype, rounded and saturated", (bench) => {
  for (const [dtype, value, expected] of [
    ["f32", -1.5, -1.5],
    ["bf16", 1 + 3 * 2 ** -8, 1 + 2 ** -6],
    ["f16", 1 / 3, stored("f16", 1 / 3)],
    ["i8", 300, 127],
    ["i8", -300, -128],
    ["i8", -2.6, -3],
    ["u8", -1, 0],
    ["u8", 254.7, 255],
    ["u8", 1e9, 255],
    ["u16", 70_000, 65_535],
    ["i32", 1e12, 2 ** 31 - 1],
    ["i32", -1e12, -(2 ** 31)],
    ["i32", 123_456_789, 123_456_789],
    ["f8_e4m3", 1e9, 448],
    ["f8_e4m3", -0.3, stored("f8_e4m3", -0.3)],
  ] as const)
    for (const layout of allLayouts) {
      const out = bench.output([3, 4, 5], { dtype, layout });
      bench.call("tamias_fill", value, out.tensor);
      expectEqual(
        out.read(),
        Values.build([3, 4, 5], () => expected),
        `${dtype} of ${value}, ${layout}`,
      );
    }
});

native.test("gathers rows, for one table and for one a batch", (bench) => {
  for (let round = 0; round < 8; round++) {
    const { random } = bench;
    const [batch, rows, count, d] = [
      random.integer(1, 3),
      random.integer(1, 50),
      random.integer(1, 60),
      random.integer(1, 70),
    ];
    const indices = bench.input(
      new Values([count]).map(() => random.integer(0, rows - 1)),
      { dtype: "i32" },
    );
    const batched = bench.normal([batch, rows, d], { layout: random.pick(rowLayouts) });
    const out = bench.output([batch, count, d], { layout: random.pick(rowLayouts) });
    bench.call("tamias_gather_rows", batched.tensor, indices.tensor, out.tensor);
    expectEqual(
      out.read(),
      Values.build([batch, count, d], (b = 0, i = 0, j = 0) => batched.values.at(b, indices.values.at(i), j)),
      `[${batch}, ${rows}, ${d}] at ${count} places`,
    );
    for (const dtype of bench.weightTypes) {
      const table = bench.normal([rows, d], { dtype, layout: "rows" });
      const [activation = "f32"] = bench.activationTypes;
      const embedded = bench.output([count, d], { dtype: activation });
      bench.call("tamias_gather_rows", table.tensor, indices.tensor, embedded.tensor);
      expectEqual(
        embedded.read(),
        Values.build([count, d], (i = 0, j = 0) => table.values.at(indices.values.at(i), j)),
        `${dtype} [${rows}, ${d}] at ${count} places`,
      );
    }
  }
});

native.test("clamps indices that are out of range", (bench) => {
  const table = bench.normal([5, 3]);
  const places = [-1, 5, 2 ** 31 - 1, -(2 ** 31), 2];
  const indices = bench.input(new Values([5], Float64Array.from(places)), { dtype: "i32" });
  const out = bench.output([5, 3]);
  bench.call("tamias_gather_rows", table.tensor, indices.tensor, out.tensor);
  expectEqual(
    out.read(),
    Values.build([5, 3], (i = 0, j = 0) => table.values.at(Math.min(4, Math.max(0, places[i] ?? 0)), j)),
    "clamped",
  );
});

import { expect } from "bun:test";
import { Device, type DType } from "../../ffi/index.ts";
import { allLayouts, Bench, nativeTests, type Operand, Values } from "./support.ts";

const native = await nativeTests();
const floatTypes: readonly DType[] = ["f32", "bf16", "f16", "f8_e4m3"];

function expected(now: Values, before?: Values): [number, number] {
  if (!before) return [now.data.reduce((sum, value) => sum + Math.abs(value), 0), 0];
  return [
    now.data.reduce((sum, value, at) => sum + Math.abs(value - (before.data[at] ?? NaN)), 0),
    before.data.reduce((sum, value) => sum + Math.abs(value), 0),
  ];
}

function norms(bench: Bench, now: Operand["tensor"], before: Operand["tensor"] | null): Values {
  const out = bench.output([2], { layout: bench.random.pick(allLayouts) });
  bench.call("tamias_change_norms", now, before, out.tensor);
  return out.read();
}

function expectSums(found: Values, [change, size]: readonly [number, number], what: string): void {
  expect(Math.abs(found.at(0) - change), `${what}: change ${found.at(0)} for ${change}`).toBeLessThanOrEqual(
    2e-6 * change,
  );
  expect(Math.abs(found.at(1) - size), `${what}: size ${found.at(1)} for ${size}`).toBeLessThanOrEqual(
    2e-6 * size,
  );
}

for (let rank = 1; rank <= 6; rank++)
  native.test(`change norms of rank ${rank}, of any strides and floating dtypes`, (bench) => {
    const { random } = bench;
    for (let round = 0; round < 12; round++) {
      const limit = [0, 9000, 90, 24, 9, 6, 4][rank] ?? 4;
      const shape = Array.from({ length: rank }, () => random.integer(1, limit));
      const operand = () =>
        bench.normal(shape, { dtype: random.pick(floatTypes), layout: random.pick(allLayouts) });
      const [now, before] = [operand(), random.chance(0.3) ? undefined : operand()];
      const what = [now, before].map((given) => given?.tensor.dtype).join(" and ");
      expectSums(
        norms(bench, now.tensor, before?.tensor ?? null),
        expected(now.values, before?.values),
        `${what} [${shape.join(", ")}]`,
      );
    }
  });

native.test("change norms of many elements", (bench) => {
  for (const dtype of ["f32", "bf16"] as const) {
    const shape = [3, 97, 2056];
    const [now, before] = [bench.normal(shape, { dtype }), bench.normal(shape, { dtype: "f32" })];
    expectSums(
      norms(bench, now.tensor, before.tensor),
      expected(now.values, before.values),
      `${dtype} [${shape.join(", ")}]`,
    );
    expectSums(norms(bench, now.tensor, null), expected(now.values), `${dtype} alone`);
  }
});

native.test("change norms of whole pieces at aligned addresses", (bench) => {
  for (const dtype of ["f32", "bf16"] as const) {
    const values = new Values([40, 512]).map(() => bench.random.normal());
    using now = bench.device.tensor(dtype, [40, 512]);
    using before = bench.device.tensor("f32", [40, 512]);
    const [first, second] = [bench.input(values), bench.normal([40, 512])];
    bench.call("tamias_copy", first.tensor, now);
    bench.call("tamias_copy", second.tensor, before);
    const out = bench.output([40, 512], { dtype });
    bench.call("tamias_copy", now, out.tensor);
    expectSums(norms(bench, now, before), expected(out.read(), second.values), dtype);
    expectSums(norms(bench, now.slice(1, 8, 504), null), expected(sliced(out.read())), `${dtype} in rows`);
    const repeated = second.tensor.slice(0, 0, 1).expand(40, 512);
    const row = Values.build([40, 512], (_, column = 0) => second.values.at(0, column));
    expectSums(norms(bench, now, repeated), expected(out.read(), row), `${dtype} to a repeated row`);
  }
});

function sliced(values: Values): Values {
  return Values.build([40, 496], (row = 0, column = 0) => values.at(row, column + 8));
}

native.test("a value that is not finite reaches the norms, wherever it stands", (bench) => {
  const { random } = bench;
  for (const dtype of ["f32", "bf16"] as const)
    for (const value of [NaN, Infinity, -Infinity])
      for (let round = 0; round < 8; round++) {
        const shape = [random.integer(1, 5), random.integer(1, 3000)];
        const at = random.integer(0, shape.reduce((product, size) => product * size, 1) - 1);
        const spoilt = new Values(shape).map((_, place) => (place === at ? value : random.normal()));
        const [now, good] = [bench.input(spoilt, { dtype }), bench.normal(shape, { dtype })];
        const what = `${value} at ${at} of ${dtype} [${shape.join(", ")}]`;
        expect(norms(bench, now.tensor, null).at(0), what).toBe(Math.abs(value));
        expect(norms(bench, now.tensor, good.tensor).at(0), what).toBe(Math.abs(value));
        const reached = norms(bench, good.tensor, now.tensor);
        expect([reached.at(0), reached.at(1)], what).toEqual([Math.abs(value), Math.abs(value)]);
      }
});

native.test("change norms of nothing are 0", (bench) => {
  const nothing = bench.device.tensor("f32", [3, 0]);
  expect([...norms(bench, nothing, null).data]).toEqual([0, 0]);
  expect([...norms(bench, nothing, nothing).data]).toEqual([0, 0]);
});

native.test("change norms have the same bits every time, with any number of threads", async (bench) => {
  const shape = [7, 30_011];
  const [now, before] = [bench.normal(shape), bench.normal(shape)];
  const first = norms(bench, now.tensor, before.tensor);
  for (let round = 0; round < 3; round++)
    expect([...norms(bench, now.tensor, before.tensor).data]).toEqual([...first.data]);
  using device = await Device.open({ backend: native.backend, threads: 5 });
  using other = new Bench(device, bench.random);
  const again = norms(other, other.input(now.values).tensor, other.input(before.values).tensor);
  expect([...again.data]).toEqual([...first.data]);
});

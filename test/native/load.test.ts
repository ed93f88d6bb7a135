import { afterAll, expect } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DType, dtypes } from "../../ffi/index.ts";
import { encoded, expectClose, expectEqual, nativeTests, stored, Values } from "./support.ts";

const native = await nativeTests();
const folder = mkdtempSync(join(tmpdir(), "tamias-load-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A file with `values` as `dtype` behind `offset` bytes of something else; its path as the ABI wants it. */
function fileWith(dtype: DType, values: Values, offset: number): { path: Uint8Array; values: Values } {
  const path = join(folder, `${dtype}-${offset}-${crypto.randomUUID()}.bin`);
  const elements = encoded(dtype, values.data);
  const bytes = new Uint8Array(offset + elements.byteLength).fill(0xa5);
  bytes.set(new Uint8Array(elements.buffer), offset);
  writeFileSync(path, bytes);
  return { path: new TextEncoder().encode(`${path}\0`), values: values.map((value) => stored(dtype, value)) };
}

const ranges: Record<DType, number> = {
  f32: 10,
  bf16: 10,
  f16: 10,
  i8: 127,
  f8_e4m3: 440,
  i32: 2 ** 31 - 1,
  u16: 65_535,
  u8: 255,
};
const fileTypes: readonly DType[] = ["f32", "bf16", "f16", "i8", "f8_e4m3"];
const floatTypes: readonly DType[] = ["f32", "bf16", "f16"];

for (const from of fileTypes)
  native.test(`a file of ${from} loads as each floating dtype, at any offset`, (bench) => {
    for (const to of floatTypes)
      for (const shape of [[1], [7, 33], [3, 1, 5, 2], [from === to ? 30_001 : 270_001]]) {
        const whole = from === "i8";
        const { path, values } = fileWith(
          from,
          new Values(shape).map(() => {
            const value = bench.random.uniform(-ranges[from], ranges[from]);
            return whole ? Math.round(value) : value;
          }),
          bench.random.integer(0, 4099),
        );
        const offset = Bun.file(new TextDecoder().decode(path.subarray(0, -1))).size - bytesOf(from, values);
        const out = bench.output(shape, { dtype: to });
        bench.call("tamias_tensor_load", path, offset, dtypes[from].code, out.tensor);
        expectEqual(
          out.read(),
          values.map((value) => stored(to, value)),
          `${from} as ${to} [${shape.join(", ")}]`,
        );
      }
  });

native.test("a file loads into host memory, as it is and converted", (bench) => {
  const { device, stream, random } = bench;
  for (const to of ["bf16", "f32"] as const)
    for (const shape of [[5, 7], [2_100_001]]) {
      const { path, values } = fileWith(
        "bf16",
        new Values(shape).map(() => random.uniform(-9, 9)),
        6,
      );
      using host = device.tensor(to, shape, "host");
      bench.call("tamias_tensor_load", path, 6, dtypes.bf16.code, host);
      const out = bench.output(shape, { dtype: to });
      stream.queue("tamias_copy", host, out.tensor);
      expectEqual(out.read(), values, `as ${to} [${shape.join(", ")}]`);
    }
});

native.test("every dtype loads as itself, bit for bit", (bench) => {
  for (const dtype of Object.keys(dtypes) as DType[]) {
    const { path, values } = fileWith(
      dtype,
      new Values([123]).map(() => {
        const value = bench.random.uniform(dtype.startsWith("u") ? 0 : -ranges[dtype], ranges[dtype]);
        return fileTypes.includes(dtype) && dtype !== "i8" ? value : Math.trunc(value);
      }),
      13,
    );
    const out = bench.output([123], { dtype });
    bench.call("tamias_tensor_load", path, 13, dtypes[dtype].code, out.tensor);
    expectEqual(out.read(), values, dtype);
  }
});

native.test("every code of f8_e4m3 has its value, NaN included", (bench) => {
  const path = join(folder, "f8-codes.bin");
  writeFileSync(
    path,
    Uint8Array.from({ length: 256 }, (_, code) => code),
  );
  const out = bench.output([256]);
  bench.call("tamias_tensor_load", new TextEncoder().encode(`${path}\0`), 0, dtypes.f8_e4m3.code, out.tensor);
  const values = out.read();
  expect(values.at(0x08)).toBe(2 ** -6);
  expect(values.at(0x01)).toBe(2 ** -9);
  expect(values.at(0x38)).toBe(1);
  expect(values.at(0x7e)).toBe(448);
  expect(values.at(0xfe)).toBe(-448);
  expect(values.at(0x7f)).toBeNaN();
  expect(values.at(0xff)).toBeNaN();
});

native.test("8-bit weights with a scale for each row, or one for all", (bench) => {
  for (const scales of [1, 19]) {
    const whole = new Values([19, 37]).map(() => bench.random.integer(-127, 127));
    const { path } = fileWith("i8", whole, 5);
    const out = bench.output([19, 37]);
    const scale = bench.uniform([scales], 0.001, 0.1);
    bench.call("tamias_tensor_load", path, 5, dtypes.i8.code, out.tensor);
    bench.call("tamias_scale_rows", out.tensor, scale.tensor);
    const expected = whole.map(
      (value, position) => value * scale.values.at(scales === 1 ? 0 : Math.floor(position / 37)),
    );
    expectClose(out.read(), expected, 1e-7, `${scales} scales`);
  }
});

native.test("rows of weights are scaled in their own dtype, whatever their strides", (bench) => {
  for (const dtype of bench.weightTypes) {
    const x = bench.normal([23, 41], { dtype, layout: "rows" });
    const scale = bench.uniform([23], 0.1, 3);
    bench.call("tamias_scale_rows", x.tensor, scale.tensor);
    const expected = x.values.map((value, position) =>
      stored(dtype, Math.fround(value * scale.values.at(Math.floor(position / 41)))),
    );
    expectEqual(x.read(), expected, dtype);
  }
});

native.test("a missing, short or unreadable file is refused, and the sentence names it", (bench) => {
  const out = bench.output([100]);
  const load = (path: string, offset: number) => () =>
    bench.call(
      "tamias_tensor_load",
      new TextEncoder().encode(`${path}\0`),
      offset,
      dtypes.f32.code,
      out.tensor,
    );
  const short = join(folder, "short.bin");
  writeFileSync(short, new Uint8Array(399));
  const exact = join(folder, "exact.bin");
  writeFileSync(exact, new Uint8Array(400));
  const missing = join(folder, "missing.bin");
  for (const [path, offset] of [
    [missing, 0],
    [short, 0],
    [exact, 1],
    [exact, 2 ** 52],
    [folder, 0],
  ] as const) {
    expect(load(path, offset)).toThrow(expect.objectContaining({ code: "io" }));
    expect(load(path, offset)).toThrow(path);
  }
  out.expectUntouched();
  load(exact, 0)();
  expectEqual(out.read(), new Values([100]), "the exact file");
});

function bytesOf(dtype: DType, values: Values): number {
  return values.data.length * dtypes[dtype].bytes;
}

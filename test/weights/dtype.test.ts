import { expect, test } from "bun:test";
import { float32ToBfloat16, toFloat32 } from "../../src/weights/dtype.ts";

const widen = (words: Uint16Array) => toFloat32("BF16", new Uint8Array(words.buffer));

test("bfloat16 rounds to nearest, ties to even", () => {
  // One bfloat16 step above 1 is 2^-7.
  const values = Float32Array.of(1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, -0, 3.4e38);
  expect([...widen(float32ToBfloat16(values))]).toEqual([1, 1, 1 + 2 ** -6, 1 + 2 ** -7, -0, Infinity]);
  expect([...widen(float32ToBfloat16(Float32Array.of(Infinity, -Infinity, Number.NaN)))]).toEqual([
    Infinity,
    -Infinity,
    Number.NaN,
  ]);
});

test("every bfloat16 survives the way to float32 and back", () => {
  const all = Uint16Array.from({ length: 65_536 }, (_, word) => word);
  const isNaN = (word: number) => (word & 0x7fff) > 0x7f80;
  const back = float32ToBfloat16(widen(all));
  for (const word of all) {
    if (isNaN(word)) expect(isNaN(back[word]!)).toBe(true);
    else if (back[word] !== word) expect(back[word]).toBe(word);
  }
});

test("F8_E4M3 covers its range", () => {
  const all = toFloat32(
    "F8_E4M3",
    Uint8Array.from({ length: 256 }, (_, byte) => byte),
  );
  const positive = [...all.subarray(0, 127)];
  expect(positive).toEqual(positive.toSorted((a, b) => a - b));
  expect(positive.at(-1)).toBe(448);
  expect([all[127], all[255]]).toEqual([Number.NaN, Number.NaN]);
  for (let byte = 0; byte < 127; byte++) expect(all[byte + 128]).toBe(-all[byte]!);
});

test("bytes may start anywhere", () => {
  const bytes = new Uint8Array(9);
  bytes.set(new Uint8Array(Float32Array.of(1.5, -2).buffer), 1);
  expect([...toFloat32("F32", bytes.subarray(1))]).toEqual([1.5, -2]);
});

test("a type without a conversion is unsupported", () => {
  expect(() => toFloat32("U64", new Uint8Array(8))).toThrow("U64");
});

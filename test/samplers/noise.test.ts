import { expect, test } from "bun:test";
import { gaussianNoise } from "../../src/samplers/noise.ts";
import { philox } from "../../src/samplers/philox.ts";

// Known answers of Random123, the authors' own implementation.
test.each([
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
])("Philox4x32-10 of counter %p and key %p", (counter, key, words) => {
  const out = new Uint32Array(4);
  philox(Uint32Array.from(counter), Uint32Array.from(key), out);
  expect([...out]).toEqual(words);
});

test("a seed gives the same bits each time", () => {
  const hash = new Bun.CryptoHasher("sha256").update(gaussianNoise(100_001, 2 ** 40 + 12345)).digest("hex");
  expect(hash).toBe("ba8e84c5ae5b063b374e9ebddaa278a92142390aeba4c12b0c931b5fb22f8020");
});

test.each([0, 1, 2, 3, 4, 5, 1023])("the first %d values do not depend on how many follow", (count) => {
  expect(gaussianNoise(count, 3)).toEqual(gaussianNoise(2000, 3).slice(0, count));
});

test("noise is standard normal: moments, tails, and no correlation of neighbours", () => {
  const count = 400_000;
  const values = gaussianNoise(count, 42);
  const mean = (of: (value: number, at: number) => number) =>
    values.reduce((sum, value, at) => sum + of(value, at), 0) / count;
  // Five standard errors each.
  const near = (power: number) => 5 * Math.sqrt(power / count);
  expect(Math.abs(mean((value) => value))).toBeLessThan(near(1));
  expect(Math.abs(mean((value) => value ** 2) - 1)).toBeLessThan(near(2));
  expect(Math.abs(mean((value) => value ** 3))).toBeLessThan(near(15));
  expect(Math.abs(mean((value) => value ** 4) - 3)).toBeLessThan(near(96));
  for (const lag of [1, 2, 3, 4])
    expect(Math.abs(mean((value, at) => value * values[(at + lag) % count]!))).toBeLessThan(near(1));
  expect(Math.abs(mean((value) => (Math.abs(value) > 2 ? 1 : 0)) - 0.0455)).toBeLessThan(near(0.0435));
});

test("seeds give unrelated noise, also where only the upper half differs", () => {
  const first = gaussianNoise(10_000, 5);
  for (const seed of [6, 5 + 2 ** 32]) {
    const second = gaussianNoise(10_000, seed);
    const correlation = first.reduce((sum, value, at) => sum + value * second[at]!, 0) / first.length;
    expect(Math.abs(correlation)).toBeLessThan(0.05);
  }
});

test.each([-1, 0.5, Number.NaN, 2 ** 53])("seed %p is refused", (seed) => {
  expect(() => gaussianNoise(4, seed)).toThrow("seed");
});

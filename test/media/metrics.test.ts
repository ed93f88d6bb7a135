import { expect, test } from "bun:test";
import { psnr, ssim } from "../../src/media/metrics.ts";

const size = 32;
const picture = (value: (at: number) => number) => ({
  width: size,
  height: size,
  rgb: Uint8Array.from({ length: size * size * 3 }, (_, at) => value(at)),
});
const waves = picture((at) => 128 + 100 * Math.sin(at / 17));

test("equal pictures", () => {
  expect(psnr(waves, waves)).toBe(Number.POSITIVE_INFINITY);
  expect(ssim(waves, waves)).toBeCloseTo(1, 12);
});

test("psnr of a constant difference", () => {
  const darker = { ...waves, rgb: waves.rgb.map((value) => value - 10) };
  expect(psnr(waves, darker)).toBeCloseTo(10 * Math.log10(255 ** 2 / 100), 9);
});

test("ssim of flat grey pictures is the closed form of its luminance term", () => {
  const [a, b, c1] = [100, 120, (0.01 * 255) ** 2];
  const expected = (2 * a * b + c1) / (a * a + b * b + c1);
  expect(
    ssim(
      picture(() => a),
      picture(() => b),
    ),
  ).toBeCloseTo(expected, 9);
});

test("structure that is turned over counts against it", () => {
  const inverted = { ...waves, rgb: waves.rgb.map((value) => 255 - value) };
  expect(ssim(waves, inverted)).toBeLessThan(0);
});

test("pictures of two sizes cannot be compared", () => {
  expect(() => psnr(waves, { width: 1, height: 1, rgb: new Uint8Array(3) })).toThrow(/cannot be compared/);
});

import { TamiasError } from "../../ffi/errors.ts";
import type { RgbPicture } from "./png.ts";

/** Peak signal-to-noise ratio of two pictures of one size, in dB; infinite when they are equal. */
export function psnr(a: RgbPicture, b: RgbPicture): number {
  checkSameSize(a, b);
  let sum = 0;
  for (let at = 0; at < a.rgb.length; at++) sum += (a.rgb[at]! - b.rgb[at]!) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / a.rgb.length));
}

const WINDOW = 11;
const SIGMA = 1.5;

/**
 * Structural similarity of two pictures' luma, -1..1 (Wang, Bovik, Sheikh, Simoncelli 2004: 11 x 11 Gaussian window of
 * sigma 1.5, K1 = 0.01, K2 = 0.03), averaged over the windows that fit. Smaller pictures use one window of their size.
 */
export function ssim(a: RgbPicture, b: RgbPicture): number {
  checkSameSize(a, b);
  const { width, height } = a;
  const x = luma(a);
  const y = luma(b);
  const kernels = [gaussian(Math.min(WINDOW, width)), gaussian(Math.min(WINDOW, height))] as const;
  const smooth = (values: Float64Array) => blur(values, width, height, kernels);
  const product = (p: Float64Array, q: Float64Array) => p.map((value, at) => value * q[at]!);
  const meanX = smooth(x);
  const meanY = smooth(y);
  const squareX = smooth(product(x, x));
  const squareY = smooth(product(y, y));
  const cross = smooth(product(x, y));
  const c1 = (0.01 * 255) ** 2;
  const c2 = (0.03 * 255) ** 2;
  let sum = 0;
  for (let at = 0; at < meanX.length; at++) {
    const mx = meanX[at]!;
    const my = meanY[at]!;
    const covariance = cross[at]! - mx * my;
    const variances = squareX[at]! - mx * mx + squareY[at]! - my * my;
    sum += ((2 * mx * my + c1) * (2 * covariance + c2)) / ((mx * mx + my * my + c1) * (variances + c2));
  }
  return sum / meanX.length;
}

function checkSameSize(a: RgbPicture, b: RgbPicture): void {
  if (a.width !== b.width || a.height !== b.height || a.rgb.length !== b.rgb.length)
    throw new TamiasError(
      "bad_input",
      `Pictures of ${a.width} x ${a.height} and ${b.width} x ${b.height} pixels cannot be compared.`,
    );
}

/** ITU-R BT.601 */
function luma({ rgb }: RgbPicture): Float64Array {
  return Float64Array.from(
    { length: rgb.length / 3 },
    (_, at) => 0.299 * rgb[3 * at]! + 0.587 * rgb[3 * at + 1]! + 0.114 * rgb[3 * at + 2]!,
  );
}

function gaussian(size: number): number[] {
  const weights = Array.from({ length: size }, (_, at) =>
    Math.exp(-((at - (size - 1) / 2) ** 2) / (2 * SIGMA ** 2)),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Only where the whole window fits: [height - rows + 1, width - columns + 1]. */
function blur(
  values: Float64Array,
  width: number,
  height: number,
  [across, down]: readonly [number[], number[]],
): Float64Array {
  const outWidth = width - across.length + 1;
  const outHeight = height - down.length + 1;
  const rows = new Float64Array(height * outWidth);
  for (let row = 0; row < height; row++)
    for (let column = 0; column < outWidth; column++) {
      let sum = 0;
      for (let at = 0; at < across.length; at++) sum += across[at]! * values[row * width + column + at]!;
      rows[row * outWidth + column] = sum;
    }
  const result = new Float64Array(outHeight * outWidth);
  for (let row = 0; row < outHeight; row++)
    for (let column = 0; column < outWidth; column++) {
      let sum = 0;
      for (let at = 0; at < down.length; at++) sum += down[at]! * rows[(row + at) * outWidth + column]!;
      result[row * outWidth + column] = sum;
    }
  return result;
}

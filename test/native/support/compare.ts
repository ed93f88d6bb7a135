import { expect } from "bun:test";
import type { DType } from "../../../ffi/index.ts";
import type { Values } from "./values.ts";

/** Relative L2 error that a correct kernel stays below when its activations have this dtype. */
const tolerances: Partial<Record<DType, number>> = { f32: 1e-5, bf16: 1e-2, f16: 2e-3 };

export function tolerance(dtype: DType): number {
  const known = tolerances[dtype];
  if (known === undefined) throw new Error(`There is no tolerance for ${dtype}.`);
  return known;
}

/** A result near 0 is a difference of larger numbers: its error is taken relative to at least this size. */
const SMALLEST_SIZE = 0.1;

/** ||actual - expected|| / ||expected||; infinite elements must agree and do not count; any NaN gives NaN. */
export function relativeError(actual: Values, expected: Values): number {
  let difference = 0;
  let size = 0;
  for (let index = 0; index < expected.data.length; index++) {
    const is = actual.data[index] ?? NaN;
    const should = expected.data[index] ?? NaN;
    if (is !== should) difference += (is - should) ** 2;
    if (Number.isFinite(should)) size += should * should;
  }
  return difference === 0
    ? 0
    : Math.sqrt(difference / Math.max(size, SMALLEST_SIZE ** 2 * expected.data.length));
}

/** Fails with the case and the worst element unless `actual` is `expected` within `limit`. */
export function expectClose(actual: Values, expected: Values, limit: number, what: string): void {
  expect(actual.shape, what).toEqual([...expected.shape]);
  const error = relativeError(actual, expected);
  if (error <= limit) return;
  let worst = 0;
  let distance = -1;
  for (let index = 0; index < expected.data.length; index++) {
    const apart = Math.abs((actual.data[index] ?? NaN) - (expected.data[index] ?? NaN));
    if (Number.isNaN(apart) || apart > distance) {
      worst = index;
      distance = apart;
    }
    if (Number.isNaN(apart)) break;
  }
  expect.unreachable(
    `${what}: relative error ${error} is not below ${limit}; element ${worst} of [${expected.shape.join(", ")}] ` +
      `is ${actual.data[worst]}, expected ${expected.data[worst]}`,
  );
}

/** Fails unless every element is exactly the expected one (NaN equals NaN, 0 equals -0). */
export function expectEqual(actual: Values, expected: Values, what: string): void {
  expect(actual.shape, what).toEqual([...expected.shape]);
  for (let index = 0; index < expected.data.length; index++) {
    const is = actual.data[index];
    const should = expected.data[index];
    if (is === should || (Number.isNaN(is) && Number.isNaN(should))) continue;
    expect.unreachable(
      `${what}: element ${index} of [${expected.shape.join(", ")}] is ${is}, expected ${should}`,
    );
  }
}

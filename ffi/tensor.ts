import type { Allocation } from "./allocation.ts";
import { type DType, dtypes } from "./dtype.ts";
import { TamiasError } from "./errors.ts";

const MAX_RANK = 6;
/** Size of the `tamias_tensor` struct. */
export const DESCRIPTOR_BYTES = 16 + MAX_RANK * 16;

/**
 * A view of device memory: dtype, shape and strides (in elements). Views made of one tensor share its memory; the
 * tensor that owns an allocation frees it (or hands it back) when disposed, and every use after that fails loud.
 */
export class DeviceTensor implements Disposable {
  readonly #descriptor: Uint8Array;

  readonly allocation: Allocation;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
  /** Bytes from the start of the allocation. */
  readonly byteOffset: number;
  readonly #release: (() => void) | undefined;

  constructor(
    allocation: Allocation,
    dtype: DType,
    shape: readonly number[],
    stride: readonly number[] = contiguousStride(shape),
    byteOffset = 0,
    release?: () => void,
  ) {
    checkShape(shape);
    this.allocation = allocation;
    this.dtype = dtype;
    this.shape = shape;
    this.stride = stride;
    this.byteOffset = byteOffset;
    this.#release = release;
    this.#descriptor = new Uint8Array(DESCRIPTOR_BYTES);
    const view = new DataView(this.#descriptor.buffer);
    view.setBigUint64(0, BigInt(allocation.address) + BigInt(byteOffset), true);
    view.setInt32(8, dtypes[dtype].code, true);
    view.setInt32(12, shape.length, true);
    shape.forEach((size, dimension) => view.setBigInt64(16 + 8 * dimension, BigInt(size), true));
    stride.forEach((step, dimension) =>
      view.setBigInt64(16 + 8 * (MAX_RANK + dimension), BigInt(step), true),
    );
  }

  /** The `tamias_tensor` struct that native calls read. */
  get descriptor(): Uint8Array {
    this.allocation.guard();
    return this.#descriptor;
  }

  get address(): number {
    this.allocation.guard();
    return this.allocation.address + this.byteOffset;
  }

  get elements(): number {
    return elementCount(this.shape);
  }

  get bytes(): number {
    return this.elements * dtypes[this.dtype].bytes;
  }

  get isContiguous(): boolean {
    const expected = contiguousStride(this.shape);
    return this.shape.every((size, dimension) => size <= 1 || this.stride[dimension] === expected[dimension]);
  }

  /** Elements start..end-1 of one dimension. */
  slice(dimension: number, start: number, end: number): DeviceTensor {
    const size = this.#size(dimension);
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start || end > size)
      throw new TamiasError(
        "bad_input",
        `Slice ${start}..${end} does not fit dimension ${dimension} of [${this.shape.join(", ")}].`,
      );
    const shape = this.shape.with(dimension, end - start);
    const offset = this.byteOffset + start * (this.stride[dimension] ?? 0) * dtypes[this.dtype].bytes;
    return new DeviceTensor(this.allocation, this.dtype, shape, this.stride, offset);
  }

  /** One index of a dimension; the dimension goes away. */
  select(dimension: number, index: number): DeviceTensor {
    const row = this.slice(dimension, index, index + 1);
    if (row.shape.length === 1) return row;
    const keep = (_: number, at: number) => at !== dimension;
    return new DeviceTensor(
      this.allocation,
      this.dtype,
      row.shape.filter(keep),
      row.stride.filter(keep),
      row.byteOffset,
    );
  }

  /** Dimensions in another order. */
  permute(...order: number[]): DeviceTensor {
    if (order.length !== this.shape.length || new Set(order).size !== order.length)
      throw new TamiasError(
        "bad_input",
        `[${order.join(", ")}] is no order of ${this.shape.length} dimensions.`,
      );
    return new DeviceTensor(
      this.allocation,
      this.dtype,
      order.map((dimension) => this.#size(dimension)),
      order.map((dimension) => this.stride[dimension] ?? 0),
      this.byteOffset,
    );
  }

  /** The same elements with other dimensions, where strides allow it without a copy (each run that is split or merged
   * must be contiguous within itself). */
  reshape(...shape: number[]): DeviceTensor {
    const stride = reshapeStride(this.shape, this.stride, shape);
    if (!stride)
      throw new TamiasError(
        "bad_input",
        `[${this.shape.join(", ")}] with strides [${this.stride.join(", ")}] is no view as [${shape.join(", ")}].`,
      );
    return new DeviceTensor(this.allocation, this.dtype, shape, stride, this.byteOffset);
  }

  /** Repeats dimensions of size 1 (stride 0); inputs only. */
  expand(...shape: number[]): DeviceTensor {
    if (
      shape.length !== this.shape.length ||
      shape.some((size, dimension) => this.shape[dimension] !== 1 && this.shape[dimension] !== size)
    )
      throw new TamiasError(
        "bad_input",
        `[${this.shape.join(", ")}] cannot repeat to [${shape.join(", ")}].`,
      );
    const stride = this.stride.map((step, dimension) =>
      this.shape[dimension] === shape[dimension] ? step : 0,
    );
    return new DeviceTensor(this.allocation, this.dtype, shape, stride, this.byteOffset);
  }

  [Symbol.dispose](): void {
    this.#release?.();
  }

  #size(dimension: number): number {
    const size = this.shape[dimension];
    if (size === undefined)
      throw new TamiasError("bad_input", `[${this.shape.join(", ")}] has no dimension ${dimension}.`);
    return size;
  }
}

/** Sizes of the dimensions of a `tamias_tensor` struct. */
export function shapeOfDescriptor(descriptor: Uint8Array): number[] {
  const view = new DataView(descriptor.buffer, descriptor.byteOffset);
  const rank = view.getInt32(12, true);
  return Array.from({ length: rank }, (_, dimension) => Number(view.getBigInt64(16 + 8 * dimension, true)));
}

/** Throws unless `shape` is one that a tensor can have. */
export function checkShape(shape: readonly number[]): void {
  const isWhole = (size: number) => Number.isSafeInteger(size) && size >= 0;
  if (shape.length === 0 || shape.length > MAX_RANK || !shape.every(isWhole))
    throw new TamiasError(
      "bad_input",
      `A tensor needs 1 to ${MAX_RANK} dimensions of whole sizes, got [${shape.join(", ")}].`,
    );
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function contiguousStride(shape: readonly number[]): number[] {
  const stride: number[] = Array.from({ length: shape.length });
  let step = 1;
  for (let dimension = shape.length - 1; dimension >= 0; dimension--) {
    stride[dimension] = step;
    step *= shape[dimension] ?? 1;
  }
  return stride;
}

/** Strides of a view in another shape, or undefined where only a copy would do. */
function reshapeStride(
  from: readonly number[],
  stride: readonly number[],
  to: readonly number[],
): number[] | undefined {
  if (elementCount(from) !== elementCount(to)) return undefined;
  if (elementCount(from) === 0) return contiguousStride(to);
  // Merge the source into maximal contiguous runs, then cut each run into target dimensions from the inside out.
  const runs: { size: number; step: number }[] = [];
  from.forEach((size, dimension) => {
    const step = stride[dimension] ?? 0;
    if (size === 1) return;
    const last = runs.at(-1);
    if (last && last.step === step * size) runs[runs.length - 1] = { size: last.size * size, step };
    else runs.push({ size, step });
  });
  const result: number[] = Array.from({ length: to.length });
  let run = runs.pop() ?? { size: 1, step: 1 };
  let used = 1;
  for (let dimension = to.length - 1; dimension >= 0; dimension--) {
    const size = to[dimension] ?? 1;
    if (used === run.size && size > 1) {
      run = runs.pop() ?? { size: 1, step: 1 };
      used = 1;
    }
    result[dimension] = run.step * used;
    if (size > 1) {
      if (run.size % (used * size) !== 0) return undefined;
      used *= size;
    }
  }
  return result;
}

import { expect } from "bun:test";
import { type DType, DeviceTensor, type Stream } from "../../../ffi/index.ts";
import { loadAt, poisoned, sameBits, type Storage, storeAt } from "./dtypes.ts";
import type { Placement } from "./layout.ts";
import { forEachIndex, Values } from "./values.ts";

/**
 * A tensor for a native call: a view into a longer piece of device memory whose other elements are poison. A kernel
 * that reads beside its input spreads NaN, and one that writes beside its output is found by `read`.
 */
export class Operand implements Disposable {
  readonly tensor: DeviceTensor;
  /** What the tensor held before any call, as its dtype stores it. */
  readonly values: Values;
  readonly #stream: Stream;
  readonly #whole: DeviceTensor;
  readonly #placement: Placement;
  readonly #before: Storage;

  /** `values` absent: the tensor itself is poison too. */
  constructor(
    stream: Stream,
    dtype: DType,
    shape: readonly number[],
    placement: Placement,
    values: Values | undefined,
  ) {
    this.#stream = stream;
    this.#placement = placement;
    this.#whole = stream.device.tensor(dtype, [placement.length]);
    this.tensor = new DeviceTensor(
      this.#whole.allocation,
      dtype,
      shape,
      placement.stride,
      (placement.offset * this.#whole.bytes) / placement.length,
    );
    this.#before = poisoned(dtype, placement.length);
    if (values)
      this.#forEach((at, position) => storeAt(dtype, this.#before, at, values.data[position] ?? NaN));
    this.values = this.#gather(this.#before);
    stream.write(this.#whole, this.#before);
  }

  /** What the tensor holds now. Fails if anything beside it has changed. */
  read(): Values {
    const now = this.#stream.read(this.#whole, this.#before.slice());
    const own = new Uint8Array(now.length);
    this.#forEach((at) => (own[at] = 1));
    const changed = own.findIndex((mine, at) => mine === 0 && !sameBits(now, this.#before, at));
    if (changed >= 0)
      expect.unreachable(
        `${this.#describe()}: element ${changed} of the memory, which does not belong to it, was overwritten`,
      );
    return this.#gather(now);
  }

  /** Fails unless the memory is as it was, bit for bit. */
  expectUntouched(): void {
    const now = this.#stream.read(this.#whole, this.#before.slice());
    const changed = now.findIndex((_, at) => !sameBits(now, this.#before, at));
    if (changed >= 0)
      expect.unreachable(`${this.#describe()}: element ${changed} of the memory was overwritten`);
  }

  [Symbol.dispose](): void {
    this.#whole[Symbol.dispose]();
  }

  #gather(storage: Storage): Values {
    const values = new Values(this.tensor.shape);
    this.#forEach((at, position) => {
      values.data[position] = loadAt(this.tensor.dtype, storage, at);
    });
    return values;
  }

  #forEach(visit: (at: number, position: number) => void): void {
    const { stride, offset } = this.#placement;
    forEachIndex(this.tensor.shape, (index, position) => {
      let at = offset;
      for (let dimension = 0; dimension < index.length; dimension++)
        at += (index[dimension] ?? 0) * (stride[dimension] ?? 0);
      visit(at, position);
    });
  }

  #describe(): string {
    const { dtype, shape, stride } = this.tensor;
    return `${dtype} [${shape.join(", ")}] with strides [${stride.join(", ")}]`;
  }
}

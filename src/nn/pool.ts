import { Allocation, type Device, DeviceTensor, type DType, dtypes } from "../../ffi/index.ts";
import { checkShape, elementCount } from "../../ffi/tensor.ts";

/**
 * Temporary tensors of one stream. A disposed temporary goes back to the pool and may be handed out again at once:
 * work of one stream runs in order, so the next user's writes come after the last user's reads.
 */
export class TensorPool implements Disposable {
  readonly #device: Device;
  readonly #free = new Map<number, Allocation[]>();
  readonly #blocks: Allocation[] = [];

  constructor(device: Device) {
    this.#device = device;
  }

  /** An uninitialised contiguous tensor; `using` gives it back. */
  tensor(dtype: DType, shape: readonly number[]): DeviceTensor {
    checkShape(shape);
    const bytes = sizeClass(elementCount(shape) * dtypes[dtype].bytes);
    const block = this.#free.get(bytes)?.pop() ?? this.#allocate(bytes);
    const lease = new Allocation(block.address, bytes, () => this.#giveBack(block));
    return new DeviceTensor(lease, dtype, shape, undefined, 0, () => lease[Symbol.dispose]());
  }

  /** Bytes of device memory held, in use or not. */
  get bytes(): number {
    return this.#blocks.reduce((sum, block) => sum + block.bytes, 0);
  }

  /** Frees all memory. Temporaries still in use must not be used any more. */
  [Symbol.dispose](): void {
    this.#free.clear();
    for (const block of this.#blocks.splice(0)) block[Symbol.dispose]();
  }

  #allocate(bytes: number): Allocation {
    const block = this.#device.allocate(bytes);
    this.#blocks.push(block);
    return block;
  }

  #giveBack(block: Allocation): void {
    const list = this.#free.get(block.bytes);
    if (list) list.push(block);
    else this.#free.set(block.bytes, [block]);
  }
}

/** Sizes are rounded up to eighths of a power of two, so that nearly equal shapes share blocks. */
function sizeClass(bytes: number): number {
  const step = Math.max(256, 2 ** Math.ceil(Math.log2(Math.max(1, bytes))) / 8);
  return Math.max(256, Math.ceil(bytes / step) * step);
}

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
  /** Who uses a block that is handed out, by its address: its tensor, and other streams. */
  readonly #users = new Map<number, number>();

  constructor(device: Device) {
    this.#device = device;
  }

  /** An uninitialised contiguous tensor; `using` gives it back. */
  tensor(dtype: DType, shape: readonly number[]): DeviceTensor {
    checkShape(shape);
    const bytes = sizeClass(elementCount(shape) * dtypes[dtype].bytes);
    const block = this.#free.get(bytes)?.pop() ?? this.#allocate(bytes);
    this.#users.set(block.address, 1);
    const lease = new Allocation(block.address, bytes, () => this.#leave(block));
    return new DeviceTensor(lease, dtype, shape, undefined, 0, () => lease[Symbol.dispose]());
  }

  /**
   * Keeps a temporary's memory from being handed out again, also after its disposal: another stream still reads it.
   * Memory that is not the pool's is left alone.
   * @returns a function that ends this
   */
  hold(tensor: DeviceTensor): () => void {
    const { address } = tensor.allocation;
    const users = this.#users.get(address);
    const block = this.#blocks.find((candidate) => candidate.address === address);
    if (users === undefined || !block) return () => {};
    this.#users.set(address, users + 1);
    return () => this.#leave(block);
  }

  /** Bytes of device memory held, in use or not. */
  get bytes(): number {
    return this.#blocks.reduce((sum, block) => sum + block.bytes, 0);
  }

  /** Frees all memory. Temporaries still in use must not be used any more. */
  [Symbol.dispose](): void {
    this.#free.clear();
    this.#users.clear();
    for (const block of this.#blocks.splice(0)) block[Symbol.dispose]();
  }

  #allocate(bytes: number): Allocation {
    const block = this.#device.allocate(bytes);
    this.#blocks.push(block);
    return block;
  }

  #leave(block: Allocation): void {
    const left = (this.#users.get(block.address) ?? 1) - 1;
    if (left > 0) {
      this.#users.set(block.address, left);
      return;
    }
    this.#users.delete(block.address);
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

import { Allocation, type Device, DeviceTensor, type DType, dtypes, type Stream } from "../../ffi/index.ts";
import { checkShape, elementCount } from "../../ffi/tensor.ts";
import { Pool } from "./pool.ts";

/**
 * The memory that one stream works with, given by how long it lives: temporaries, and what lasts a run. Both come from
 * pools, which go back to the device at `trim`, or when it has no memory left.
 */
export class Memory implements Disposable {
  readonly #stream: Stream;
  readonly #device: Device;
  readonly #activationType: DType;
  readonly #temporaries: Pool;
  readonly #persistent: Pool;
  readonly #shortage: Disposable;
  /** Users of each temporary's memory, by its address: its tensor, and other streams. */
  readonly #users = new Map<number, { count: number; readonly piece: Allocation }>();
  /** Persistent memory that was disposed while work given to the device before may still use it. */
  #retired: Allocation[] = [];

  constructor(stream: Stream, activationType: DType) {
    const { device } = stream;
    this.#stream = stream;
    this.#device = device;
    this.#activationType = activationType;
    this.#temporaries = new Pool(device);
    this.#persistent = new Pool(device);
    this.#shortage = device.onShortage(() => this.trim());
  }

  /**
   * An uninitialised tensor for the work at hand, of the activation dtype or another. Disposed, it may be handed out
   * again at once: work of one stream runs in order, so the next user's writes come after the last user's reads.
   */
  temporary(shape: readonly number[], dtype: DType = this.#activationType): DeviceTensor {
    const piece = this.#temporaries.take(bytesOf(shape, dtype));
    this.#users.set(piece.address, { count: 1, piece });
    return tensorIn(piece, dtype, shape, () => this.#leave(piece.address));
  }

  /**
   * Keeps a temporary's memory from being handed out again, also after its disposal: another stream still reads it.
   * Memory that is no temporary's is left alone.
   * @returns a function that ends this
   */
  hold(tensor: DeviceTensor): () => void {
    const { address } = tensor.allocation;
    const users = this.#users.get(address);
    if (!users) return () => {};
    users.count++;
    return () => this.#leave(address);
  }

  /**
   * An uninitialised tensor that any stream may use until it is disposed: what lasts a run. Its memory is handed out
   * again only after the device has done all it was given until then.
   */
  persistent(shape: readonly number[], dtype: DType = this.#activationType): DeviceTensor {
    const bytes = bytesOf(shape, dtype);
    if (!this.#persistent.has(bytes)) this.#reclaim();
    const piece = this.#persistent.take(bytes);
    return tensorIn(piece, dtype, shape, () => this.#retired.push(piece));
  }

  /** An uninitialised tensor with memory of its own: what outlasts runs, such as parameters. */
  own(shape: readonly number[], dtype: DType = this.#activationType): DeviceTensor {
    return this.#device.tensor(dtype, shape);
  }

  /** Bytes of device memory that the pools hold, in use or not. */
  get bytes(): number {
    return this.#temporaries.bytes + this.#persistent.bytes;
  }

  /** Bytes of pooled tensors that are not disposed. */
  get bytesInUse(): number {
    const retired = this.#retired.reduce((sum, { bytes }) => sum + bytes, 0);
    return this.#temporaries.bytesInUse + this.#persistent.bytesInUse - retired;
  }

  /** Gives the device what no tensor uses, and the stream's workspace. Waits for it. Meant for the end of a run. */
  trim(): void {
    this.#reclaim();
    this.#persistent.trim();
    this.#temporaries.trim();
    this.#stream.reserve(0);
  }

  /** Frees all memory. Its tensors must not be used any more. */
  [Symbol.dispose](): void {
    this.#shortage[Symbol.dispose]();
    this.#retired = [];
    this.#users.clear();
    this.#temporaries[Symbol.dispose]();
    this.#persistent[Symbol.dispose]();
  }

  #reclaim(): void {
    if (this.#retired.length === 0) return;
    this.#device.untilIdle();
    for (const piece of this.#retired.splice(0)) piece[Symbol.dispose]();
  }

  #leave(address: number): void {
    const users = this.#users.get(address);
    if (!users || --users.count > 0) return;
    this.#users.delete(address);
    users.piece[Symbol.dispose]();
  }
}

/** A contiguous tensor in a piece of memory, which `release` takes back once. */
function tensorIn(
  { address, bytes }: Allocation,
  dtype: DType,
  shape: readonly number[],
  release: () => void,
): DeviceTensor {
  const lease = new Allocation(address, bytes, release);
  return new DeviceTensor(lease, dtype, shape, undefined, 0, () => lease[Symbol.dispose]());
}

function bytesOf(shape: readonly number[], dtype: DType): number {
  checkShape(shape);
  return elementCount(shape) * dtypes[dtype].bytes;
}

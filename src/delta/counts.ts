import { TamiasError } from "../../ffi/errors.ts";
import type { DeviceTensor, Stream } from "../../ffi/index.ts";
import { elementCount } from "../../ffi/tensor.ts";
import type { Ops } from "../nn/index.ts";

/**
 * The counts of all masks of a run, side by side in one piece of device memory, so that what a step delivered can be
 * read with one copy while the next step is already running.
 */
export class MaskCounts implements Disposable {
  readonly #ops: Ops;
  readonly #all: DeviceTensor | undefined;
  #used = 0;

  /** @param elements counts of all masks together */
  constructor(ops: Ops, elements: number) {
    this.#ops = ops;
    this.#all = elements > 0 ? ops.memory.persistent([elements], "i32") : undefined;
  }

  /** Room for one mask's counts. */
  take(shape: readonly number[]): CountSlot {
    const offset = this.#used;
    const elements = elementCount(shape);
    if (!this.#all || offset + elements > this.#all.elements)
      throw new TamiasError("internal", "There are more masks than this run has planned.");
    this.#used += elements;
    return { tensor: this.#all.slice(0, offset, this.#used).reshape(...shape), offset, elements };
  }

  /** Queues a copy of all counts as they are at this point of the stream. */
  snapshot(): CountSnapshot {
    if (!this.#all || this.#used === 0) return new CountSnapshot(undefined);
    const copy = this.#ops.memory.temporary([this.#used], "i32");
    this.#ops.copy(this.#all.slice(0, 0, this.#used), copy);
    return new CountSnapshot(copy);
  }

  [Symbol.dispose](): void {
    this.#all?.[Symbol.dispose]();
  }
}

/** Where one mask's counts stand. */
export interface CountSlot {
  /** I32, of the shape asked for. */
  readonly tensor: DeviceTensor;
  readonly offset: number;
  readonly elements: number;
}

/** Counts of one moment, still on the device. */
export class CountSnapshot implements Disposable {
  readonly #copy: DeviceTensor | undefined;

  constructor(copy: DeviceTensor | undefined) {
    this.#copy = copy;
  }

  /** Reads the counts through a stream that need not be the one they were made on; the copy must have been reached. */
  read(reader: Stream): (slot: CountSlot) => Int32Array {
    const all = this.#copy ? reader.read(this.#copy, new Int32Array(this.#copy.elements)) : new Int32Array(0);
    return ({ offset, elements }) => all.subarray(offset, offset + elements);
  }

  [Symbol.dispose](): void {
    this.#copy?.[Symbol.dispose]();
  }
}

import type { DeviceTensor, Stream } from "../../ffi/index.ts";
import { elementCount } from "../../ffi/tensor.ts";
import type { Ops } from "../nn/index.ts";

const BLOCK_ELEMENTS = 1 << 16;

/**
 * The counts of all masks of a run, side by side in a few blocks of device memory, so that what a step delivered can be
 * read with one copy while the next step is already running.
 */
export class MaskCounts implements Disposable {
  readonly #ops: Ops;
  readonly #blocks: { readonly tensor: DeviceTensor; used: number }[] = [];

  constructor(ops: Ops) {
    this.#ops = ops;
  }

  /** Room for one mask's counts. */
  take(shape: readonly number[]): CountSlot {
    const elements = elementCount(shape);
    const last = this.#blocks.at(-1);
    if (!last || last.used + elements > last.tensor.elements)
      this.#blocks.push({
        tensor: this.#ops.memory.persistent([Math.max(BLOCK_ELEMENTS, elements)], "i32"),
        used: 0,
      });
    const block = this.#blocks.at(-1)!;
    const offset = block.used;
    block.used += elements;
    const tensor = block.tensor.slice(0, offset, block.used).reshape(...shape);
    return { tensor, block: this.#blocks.length - 1, offset, elements };
  }

  /** Queues a copy of all counts as they are at this point of the stream. */
  snapshot(): CountSnapshot {
    return new CountSnapshot(
      this.#blocks.map(({ tensor, used }) => {
        const copy = this.#ops.memory.temporary([used], "i32");
        this.#ops.copy(tensor.slice(0, 0, used), copy);
        return copy;
      }),
    );
  }

  [Symbol.dispose](): void {
    for (const { tensor } of this.#blocks.splice(0)) tensor[Symbol.dispose]();
  }
}

/** Where one mask's counts stand. */
export interface CountSlot {
  /** I32, of the shape asked for. */
  readonly tensor: DeviceTensor;
  readonly block: number;
  readonly offset: number;
  readonly elements: number;
}

/** Counts of one moment, still on the device. */
export class CountSnapshot implements Disposable {
  readonly #copies: readonly DeviceTensor[];

  constructor(copies: readonly DeviceTensor[]) {
    this.#copies = copies;
  }

  /** Reads the counts through a stream that need not be the one they were made on; the copy must have been reached. */
  read(reader: Stream): (slot: CountSlot) => Int32Array {
    const blocks = this.#copies.map((copy) => reader.read(copy, new Int32Array(copy.elements)));
    return ({ block, offset, elements }) =>
      blocks[block]?.subarray(offset, offset + elements) ?? new Int32Array(0);
  }

  [Symbol.dispose](): void {
    for (const copy of this.#copies) copy[Symbol.dispose]();
  }
}

import { TamiasError } from "./errors.ts";

/** Live device memory. Knows its address and whether it may still be used; frees itself once. */
export class Allocation implements Disposable {
  #free: (() => void) | undefined;

  readonly address: number;
  readonly bytes: number;

  constructor(address: number, bytes: number, free: () => void) {
    this.address = address;
    this.bytes = bytes;
    this.#free = free;
  }

  /** Throws once the memory is gone. */
  guard(): void {
    if (!this.#free) throw new TamiasError("disposed", "This tensor's memory has been freed.");
  }

  [Symbol.dispose](): void {
    const free = this.#free;
    this.#free = undefined;
    free?.();
  }
}

import { TamiasError } from "./errors.ts";

/** Where memory lies: the device's own, or the host's, from where streams copy. */
export type Place = "device" | "host";

/** Live memory of a device. Knows its address and whether it may still be used; frees itself once. */
export class Allocation implements Disposable {
  #free: (() => void) | undefined;

  readonly address: number;
  readonly bytes: number;
  readonly place: Place;

  constructor(address: number, bytes: number, free: () => void, place: Place = "device") {
    this.address = address;
    this.bytes = bytes;
    this.place = place;
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

import { TamiasError } from "./errors.ts";
import type { NativeLibrary } from "./library.ts";
import { Status } from "./symbols.ts";

/** What an event needs of the device it was made on. */
interface EventDevice {
  readonly library: NativeLibrary;
  readonly isClosed: boolean;
}

/** A mark in a stream that other streams, and the program, can wait for. */
export class Event implements Disposable {
  #handle: bigint | undefined;

  readonly device: EventDevice;

  constructor(device: EventDevice, handle: bigint) {
    this.device = device;
    this.#handle = handle;
  }

  get handle(): bigint {
    if (this.#handle === undefined) throw new TamiasError("disposed", "This event has been disposed.");
    return this.#handle;
  }

  /** Marks what `stream` has been given so far. */
  record(stream: { mark(event: Event): void }): void {
    stream.mark(this);
  }

  /** Lets later work of `stream` wait for the mark; the program goes on. */
  holdBack(stream: { waitFor(event: Event): void }): void {
    stream.waitFor(this);
  }

  get isReached(): boolean {
    const status = this.device.library.status("tamias_event_query", this.handle);
    if (status === Status.ok) return true;
    if (status === Status.notReady) return false;
    throw this.device.library.error("tamias_event_query", status);
  }

  /** Resolves when the mark is reached; the event loop keeps running meanwhile. */
  async reached(): Promise<void> {
    for (let milliseconds = 0; !this.isReached; milliseconds = Math.min(2, milliseconds + 0.25))
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
  }

  /** Seconds between two reached marks. */
  secondsUntil(later: Event): number {
    const seconds = new Uint8Array(8);
    this.device.library.call("tamias_event_elapsed", this.handle, later.handle, seconds);
    return new DataView(seconds.buffer).getFloat64(0, true);
  }

  [Symbol.dispose](): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined && !this.device.isClosed)
      this.device.library.call("tamias_event_destroy", handle);
  }
}

import type { Device } from "./device.ts";
import { TamiasError } from "./errors.ts";
import type { Arguments } from "./library.ts";
import { Status, type SymbolName } from "./symbols.ts";
import type { DeviceTensor } from "./tensor.ts";

/** Functions whose first argument is a stream: everything after it. */
type AfterStream<Name extends SymbolName> = Arguments<Name> extends [unknown, ...infer Rest] ? Rest : never;

/** A queue of device work, run in order. */
export class Stream implements Disposable {
  #handle: bigint | undefined;

  readonly device: Device;

  constructor(device: Device, handle: bigint) {
    this.device = device;
    this.#handle = handle;
  }

  get handle(): bigint {
    if (this.#handle === undefined) throw new TamiasError("disposed", "This stream has been disposed.");
    return this.#handle;
  }

  /** Queues one native op. An op that finds the workspace too small has not run: it is grown once and asked again. */
  queue<Name extends SymbolName>(name: Name, ...args: AfterStream<Name>): void {
    const library = this.device.library;
    const all = [this.handle, ...args] as unknown as Arguments<Name>;
    let status = library.status(name, ...all);
    if (status === Status.workspace) {
      const needed = new Uint8Array(8);
      library.call("tamias_stream_workspace_needed", this.handle, needed);
      library.call("tamias_stream_reserve", this.handle, new DataView(needed.buffer).getBigUint64(0, true));
      status = library.status(name, ...all);
    }
    if (status !== Status.ok) throw library.error(name, status);
  }

  /** Blocks this thread until the queue is empty; throws if any of its work failed. */
  synchronize(): void {
    this.device.library.call("tamias_stream_synchronize", this.handle);
  }

  /** Resolves when what has been queued so far is done; the event loop keeps running meanwhile. */
  async finished(): Promise<void> {
    using event = this.device.createEvent();
    event.record(this);
    await event.reached();
    this.synchronize();
  }

  /** Copies host values into a contiguous tensor of the same number of bytes; the array may be reused at once. */
  write(tensor: DeviceTensor, values: ArrayBufferView): void {
    this.#check(tensor, values);
    if (values.byteLength === 0) return;
    const source = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.device.library.call("tamias_memory_write", this.handle, tensor.address, source, source.length);
  }

  /** Fills a host array from a contiguous tensor. Blocks until the stream gets there. */
  read<View extends ArrayBufferView>(tensor: DeviceTensor, into: View): View {
    this.#check(tensor, into);
    if (into.byteLength === 0) return into;
    const destination = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    this.device.library.call(
      "tamias_memory_read",
      this.handle,
      destination,
      tensor.address,
      destination.length,
    );
    return into;
  }

  [Symbol.dispose](): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined && !this.device.isClosed)
      this.device.library.call("tamias_stream_destroy", handle);
  }

  #check(tensor: DeviceTensor, values: ArrayBufferView): void {
    if (!tensor.isContiguous || tensor.bytes !== values.byteLength)
      throw new TamiasError(
        "bad_input",
        `A ${tensor.dtype} tensor [${tensor.shape.join(", ")}] of ${tensor.bytes} bytes ` +
          `${tensor.isContiguous ? "" : "(not contiguous) "}cannot be copied from or to ${values.byteLength} host bytes.`,
      );
  }
}

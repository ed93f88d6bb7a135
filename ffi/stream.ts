import type { Device } from "./device.ts";
import { TamiasError } from "./errors.ts";
import type { Arguments } from "./library.ts";
import { Status, type SymbolName } from "./symbols.ts";
import type { Event } from "./event.ts";
import { type Span, SpanRecorder } from "./span-recorder.ts";
import type { DeviceTensor } from "./tensor.ts";

/** Functions whose first argument is a stream: everything after it. */
export type AfterStream<Name extends SymbolName> =
  Arguments<Name> extends [unknown, ...infer Rest] ? Rest : never;

/** A queue of device work, run in order. */
export class Stream implements Disposable {
  #handle: bigint | undefined;

  readonly device: Device;
  readonly #leaveDevice: () => void;
  #recorder: SpanRecorder | undefined;

  constructor(device: Device, handle: bigint) {
    this.device = device;
    this.#handle = handle;
    this.#leaveDevice = device.adopt(this);
  }

  get handle(): bigint {
    if (this.#handle === undefined) throw new TamiasError("disposed", "This stream has been disposed.");
    return this.#handle;
  }

  /** Queues one native op. An op that finds the workspace too small has not run: it is grown once and asked again. */
  queue<Name extends SymbolName>(name: Name, ...args: AfterStream<Name>): void {
    const library = this.device.library;
    const all = [this.handle, ...args] as unknown as Arguments<Name>;
    this.issue(name, () => library.status(name, ...all));
  }

  /** Has work begin only after what another stream had been given when `event` was recorded. */
  waitFor(event: Event): void {
    this.device.library.call("tamias_event_wait", event.handle, this.handle);
  }

  /** Marks what this stream has been given so far. */
  mark(event: Event): void {
    this.device.library.call("tamias_event_record", event.handle, this.handle);
  }

  protected issue(name: SymbolName, call: () => number): void {
    const library = this.device.library;
    const endSpan = this.#recorder?.begin(name);
    let status = call();
    if (status === Status.workspace) {
      const needed = new Uint8Array(8);
      library.call("tamias_stream_workspace_needed", this.handle, needed);
      this.reserve(new DataView(needed.buffer).getBigUint64(0, true));
      status = call();
    }
    if (status !== Status.ok) throw library.error(name, status);
    endSpan?.();
  }

  // How far the calls on their way to native code have come; those of this class are made at once.

  /** Number of calls given to this stream. */
  get position(): number {
    return 0;
  }

  /** Whether the first `position` calls have been made. */
  hasIssued(_position: number): boolean {
    return true;
  }

  /** Waits until they have been made. */
  untilIssued(_position: number): void {}

  /** Notes from now on when each op runs. */
  recordSpans(): void {
    this.stopSpans();
    this.#recorder = new SpanRecorder(this);
  }

  /** Ends that; what was noted is dropped. */
  stopSpans(): void {
    this.#recorder?.[Symbol.dispose]();
    this.#recorder = undefined;
  }

  /** Ends that and gives what was noted; waits for the stream. Device times count from `origin`. */
  async takeSpans(origin: Event): Promise<readonly Span[]> {
    return this.takeSpansNow(origin);
  }

  takeSpansNow(origin: Event): readonly Span[] {
    const spans = this.#recorder?.take(origin) ?? [];
    this.stopSpans();
    return spans;
  }

  /** Grows the workspace to at least so many bytes, or gives it up: 0. Waits for the stream. */
  reserve(bytes: number | bigint): void {
    this.untilIssued(this.position);
    this.device.orAfterShortage(() => this.device.library.call("tamias_stream_reserve", this.handle, bytes));
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

  get isDisposed(): boolean {
    return this.#handle === undefined;
  }

  [Symbol.dispose](): void {
    this.#recorder?.[Symbol.dispose]();
    const handle = this.forget();
    if (handle !== undefined && !this.device.isClosed)
      this.device.library.call("tamias_stream_destroy", handle);
  }

  /** Gives the handle up to whoever destroys the stream instead. */
  protected forget(): bigint | undefined {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#leaveDevice();
    return handle;
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

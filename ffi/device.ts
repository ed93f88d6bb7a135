import { Allocation, type Place } from "./allocation.ts";
import { countingLibrary, type MemoryCount, type WorkspaceEstimate } from "./counting-library.ts";
import { type DType, dtypes } from "./dtype.ts";
import { TamiasError } from "./errors.ts";
import { Event } from "./event.ts";
import { type Arguments, type Backend, NativeLibrary } from "./library.ts";
import { type Span, SpanRecorder } from "./span-recorder.ts";
import { Status, type SymbolName } from "./symbols.ts";
import { checkShape, DeviceTensor, elementCount } from "./tensor.ts";

/** Size of the `tamias_device_info` struct. */
const INFO_BYTES = 184;

/** enum tamias_place */
const places = { device: 0, host: 1 } as const satisfies Record<Place, number>;

export interface DeviceInfo {
  readonly backend: Backend;
  readonly name: string;
  /** CPU: threads an op may use. CUDA: streaming multiprocessors. */
  readonly threads: number;
  /** Neighbouring queries (tokens) that share one attention (neuron) mask, as this device prefers. */
  readonly queryGroup: number;
  readonly tokenGroup: number;
  readonly bytesTotal: number;
  readonly bytesFree: number;
  /** Device memory that is live now, workspaces included. */
  readonly bytesAllocated: number;
  /** Host memory that is live now. */
  readonly hostBytesAllocated: number;
}

export interface DeviceOptions {
  /** "auto": the first CUDA device where there is one, else the CPU. */
  readonly backend?: Backend | "auto" | undefined;
  readonly index?: number | undefined;
  /** CPU threads an op may use; 0 or absent: all cores. */
  readonly threads?: number | undefined;
}

/** An opened device. Disposing it waits for its streams and frees everything that was made from it. */
export class Device implements Disposable {
  #handle: bigint | undefined;
  readonly #isOwner: boolean;
  /** The streams of this thread, and those it gives work to. */
  readonly #streams = new Set<Stream>();
  readonly #shortageHandlers = new Set<() => void>();

  readonly library: NativeLibrary;

  private constructor(library: NativeLibrary, handle: bigint, isOwner = true) {
    this.library = library;
    this.#handle = handle;
    this.#isOwner = isOwner;
  }

  /** A device that another thread of this process has opened and will close. */
  static async attach(backend: Backend, handle: bigint): Promise<Device> {
    return new Device(await NativeLibrary.open(backend), handle, false);
  }

  static async open({ backend = "auto", index = 0, threads = 0 }: DeviceOptions = {}): Promise<Device> {
    if (!Number.isSafeInteger(threads) || threads < 0 || threads > 4096)
      throw new TamiasError(
        "bad_input",
        `threads must be a whole number from 0 (all cores) to 4096, got ${threads}.`,
      );
    const library = backend === "auto" ? await firstUsableLibrary() : await NativeLibrary.open(backend);
    const count = deviceCount(library);
    if (index < 0 || index >= count)
      throw new TamiasError(
        "not_found",
        count === 0
          ? noDevice(library.backend)
          : `There is no ${library.backend} device ${index}; there are ${count}.`,
      );
    const handle = outHandle((out) => library.call("tamias_device_open", index, threads, out));
    return new Device(library, handle);
  }

  get handle(): bigint {
    if (this.#handle === undefined) throw new TamiasError("disposed", "This device has been closed.");
    return this.#handle;
  }

  /** Whether this device has been closed, and with it all that was made from it. */
  get isClosed(): boolean {
    return this.#handle === undefined;
  }

  get backend(): Backend {
    return this.library.backend;
  }

  /** A device that looks like this one, computes nothing, and counts what memory it is asked for. */
  counting(count: MemoryCount, workspace: WorkspaceEstimate): Device {
    return new Device(countingLibrary(this.backend, this.#infoBytes(), count, workspace), 1n);
  }

  info(): DeviceInfo {
    const bytes = this.#infoBytes();
    const view = new DataView(bytes.buffer);
    const name = bytes.subarray(56);
    return {
      backend: this.backend,
      threads: view.getInt32(8, true),
      queryGroup: view.getInt32(12, true),
      tokenGroup: view.getInt32(16, true),
      bytesTotal: Number(view.getBigUint64(24, true)),
      bytesFree: Number(view.getBigUint64(32, true)),
      bytesAllocated: Number(view.getBigUint64(40, true)),
      hostBytesAllocated: Number(view.getBigUint64(48, true)),
      name: new TextDecoder().decode(name.subarray(0, name.indexOf(0))),
    };
  }

  #infoBytes(): Uint8Array {
    const bytes = new Uint8Array(INFO_BYTES);
    new DataView(bytes.buffer).setUint32(0, INFO_BYTES, true);
    this.library.call("tamias_device_info_get", this.handle, bytes);
    return bytes;
  }

  /**
   * Uninitialised memory. On the host it is pinned: copies between it and the device run beside other work.
   * @throws TamiasError `out_of_memory` when there is too little even after `onShortage`
   */
  allocate(bytes: number, place: Place = "device"): Allocation {
    const address = Number(
      outHandle((out) =>
        this.orAfterShortage(() =>
          this.library.call("tamias_memory_alloc", this.handle, bytes, places[place], out),
        ),
      ),
    );
    const free = () => {
      if (this.#handle !== undefined) this.library.call("tamias_memory_free", this.#handle, address);
    };
    return new Allocation(address, bytes, free, place);
  }

  /** An uninitialised contiguous tensor that owns its memory. One on the host is for copies and for loading. */
  tensor(dtype: DType, shape: readonly number[], place: Place = "device"): DeviceTensor {
    checkShape(shape);
    const elements = elementCount(shape);
    const allocation = this.allocate(Math.max(1, elements) * dtypes[dtype].bytes, place);
    return new DeviceTensor(allocation, dtype, shape, undefined, 0, () => allocation[Symbol.dispose]());
  }

  /** A queue of work with its own workspace, which grows when an op asks for more. */
  createStream(workspaceBytes = 0): Stream {
    return new Stream(this, this.createStreamHandle(workspaceBytes));
  }

  /** For a subclass of Stream, which then destroys it. */
  createStreamHandle(workspaceBytes = 0): bigint {
    return outHandle((out) => this.library.call("tamias_stream_create", this.handle, workspaceBytes, out));
  }

  /**
   * Has `free` called when the device lacks memory, before an allocation is given up: it frees what it can spare.
   * @returns disposing it ends this
   */
  onShortage(free: () => void): Disposable {
    this.#shortageHandlers.add(free);
    return { [Symbol.dispose]: () => this.#shortageHandlers.delete(free) };
  }

  /** Has everything freed that can be spared. */
  spare(): void {
    for (const free of this.#shortageHandlers) free();
  }

  /** Makes a call that takes device memory; where that fails for lack of it, once more after `onShortage`. */
  orAfterShortage(take: () => void): void {
    try {
      take();
    } catch (error) {
      if (!(error instanceof TamiasError) || error.code !== "out_of_memory") throw error;
      this.spare();
      take();
    }
  }

  /** Blocks this thread until all streams have done what they were given; failures of that work stay theirs. */
  untilIdle(): void {
    using event = this.createEvent();
    for (const stream of this.#streams) {
      event.record(stream);
      stream.untilIssued(stream.position);
      this.library.call("tamias_event_synchronize", event.handle);
    }
  }

  /** For Stream alone: counts it among those that `untilIdle` waits for until the returned function is called. */
  adopt(stream: Stream): () => void {
    this.#streams.add(stream);
    return () => this.#streams.delete(stream);
  }

  createEvent(): Event {
    return new Event(
      this,
      outHandle((out) => this.library.call("tamias_event_create", this.handle, out)),
    );
  }

  [Symbol.dispose](): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined && this.#isOwner) this.library.call("tamias_device_close", handle);
  }
}

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

/** How many devices of a backend there are; "auto": of the one that would be opened. */
export async function countDevices(backend: Backend | "auto"): Promise<number> {
  return deviceCount(backend === "auto" ? await firstUsableLibrary() : await NativeLibrary.open(backend));
}

async function firstUsableLibrary(): Promise<NativeLibrary> {
  try {
    const cuda = await NativeLibrary.open("cuda");
    if (deviceCount(cuda) > 0) return cuda;
  } catch {
    // "auto" asks for whatever runs here: no CUDA library or driver means the CPU.
  }
  return NativeLibrary.open("cpu");
}

function deviceCount(library: NativeLibrary): number {
  const count = new Uint8Array(4);
  library.call("tamias_device_count", count);
  return new DataView(count.buffer).getInt32(0, true);
}

function noDevice(backend: Backend): string {
  return backend === "cuda" ? "There is no CUDA device here, or no driver for it." : "This CPU lacks AVX2.";
}

function outHandle(call: (out: Uint8Array) => void): bigint {
  const out = new Uint8Array(8);
  call(out);
  return new DataView(out.buffer).getBigUint64(0, true);
}

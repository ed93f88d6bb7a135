import { Allocation } from "./allocation.ts";
import { type DType, dtypes } from "./dtype.ts";
import { TamiasError } from "./errors.ts";
import { Event } from "./event.ts";
import { type Backend, NativeLibrary } from "./library.ts";
import { Stream } from "./stream.ts";
import { checkShape, DeviceTensor, elementCount } from "./tensor.ts";

const INFO_BYTES = 176;

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
  readonly bytesAllocated: number;
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

  protected constructor(library: NativeLibrary, handle: bigint, isOwner = true) {
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

  info(): DeviceInfo {
    const bytes = new Uint8Array(INFO_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, INFO_BYTES, true);
    this.library.call("tamias_device_info_get", this.handle, bytes);
    const name = bytes.subarray(48);
    return {
      backend: this.backend,
      threads: view.getInt32(8, true),
      queryGroup: view.getInt32(12, true),
      tokenGroup: view.getInt32(16, true),
      bytesTotal: Number(view.getBigUint64(24, true)),
      bytesFree: Number(view.getBigUint64(32, true)),
      bytesAllocated: Number(view.getBigUint64(40, true)),
      name: new TextDecoder().decode(name.subarray(0, name.indexOf(0))),
    };
  }

  /**
   * Uninitialised device memory.
   * @throws TamiasError `out_of_memory` when there is too little even after `onShortage`
   */
  allocate(bytes: number): Allocation {
    const address = Number(
      outHandle((out) =>
        this.orAfterShortage(() => this.library.call("tamias_memory_alloc", this.handle, bytes, out)),
      ),
    );
    return new Allocation(address, bytes, () => {
      if (this.#handle !== undefined) this.library.call("tamias_memory_free", this.#handle, address);
    });
  }

  /** An uninitialised contiguous tensor that owns its memory. */
  tensor(dtype: DType, shape: readonly number[]): DeviceTensor {
    checkShape(shape);
    const elements = elementCount(shape);
    const allocation = this.allocate(Math.max(1, elements) * dtypes[dtype].bytes);
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

  /** Makes a call that takes device memory; where that fails for lack of it, once more after `onShortage`. */
  orAfterShortage(take: () => void): void {
    try {
      take();
    } catch (error) {
      if (!(error instanceof TamiasError) || error.code !== "out_of_memory") throw error;
      for (const free of this.#shortageHandlers) free();
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

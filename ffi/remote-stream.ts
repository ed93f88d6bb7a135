import { CallRing } from "./call-ring.ts";
import type { Device } from "./device.ts";
import { TamiasError } from "./errors.ts";
import type { Event } from "./event.ts";
import type { Arguments, Backend } from "./library.ts";
import type { Span } from "./span-recorder.ts";
import { type AfterStream, Stream } from "./stream.ts";
import type { SymbolName } from "./symbols.ts";
import type { DeviceTensor } from "./tensor.ts";

/** What a Worker that makes a stream's calls is told at its start. */
export interface StreamOrder {
  readonly buffer: SharedArrayBuffer;
  readonly backend: Backend;
  readonly device: bigint;
}

/** What it tells: first that it is there, later what was recorded. */
export type StreamAnswer =
  | { readonly type: "ready"; readonly stream: bigint }
  | { readonly type: "refused"; readonly message: string }
  | { readonly type: "spans"; readonly spans: readonly Span[] };

/**
 * A stream whose calls another thread makes, so that queueing them takes no time of this one. It is used like any
 * other; what reads or writes host memory waits until the calls before it have been made.
 */
export class RemoteStream extends Stream {
  readonly #ring: CallRing;
  readonly #worker: Worker;
  #spansTaken: ((spans: readonly Span[]) => void) | undefined;

  /**
   * @param worker where a program that calls `serveStream` lies
   * @throws TamiasError `internal` when it does not start
   */
  static async open(device: Device, worker: URL): Promise<RemoteStream> {
    const ring = new CallRing();
    const thread = new Worker(worker);
    thread.unref();
    const answer = Promise.withResolvers<StreamAnswer>();
    thread.onmessage = ({ data }: MessageEvent<StreamAnswer>) => answer.resolve(data);
    thread.onerror = ({ message }) => answer.resolve({ type: "refused", message });
    const order: StreamOrder = { buffer: ring.buffer, backend: device.backend, device: device.handle };
    thread.postMessage(order);
    const ready = await answer.promise;
    if (ready.type === "ready") return new RemoteStream(device, ready.stream, ring, thread);
    thread.terminate();
    const reason = ready.type === "refused" ? ready.message : ready.type;
    throw new TamiasError("internal", `The worker for a second stream did not start: ${reason}`);
  }

  private constructor(device: Device, handle: bigint, ring: CallRing, worker: Worker) {
    super(device, handle);
    this.#ring = ring;
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<StreamAnswer>) => {
      if (data.type === "spans") this.#spansTaken?.(data.spans);
    };
  }

  override queue<Name extends SymbolName>(name: Name, ...args: AfterStream<Name>): void {
    this.#push(name, ...([this.handle, ...args] as unknown as Arguments<Name>));
  }

  override waitFor(event: Event): void {
    this.#push("tamias_event_wait", event.handle, this.handle);
  }

  override mark(event: Event): void {
    this.#push("tamias_event_record", event.handle, this.handle);
  }

  override get position(): number {
    return this.#ring.pushed;
  }

  override hasIssued(position: number): boolean {
    return this.#ring.isDone(position);
  }

  override untilIssued(position: number): void {
    this.#ring.untilDone(position);
  }

  override synchronize(): void {
    this.untilIssued(this.position);
    super.synchronize();
  }

  override write(tensor: DeviceTensor, values: ArrayBufferView): void {
    this.untilIssued(this.position);
    super.write(tensor, values);
  }

  override read<View extends ArrayBufferView>(tensor: DeviceTensor, into: View): View {
    this.untilIssued(this.position);
    return super.read(tensor, into);
  }

  override recordSpans(): void {
    this.#ring.command("record spans");
  }

  override stopSpans(): void {
    this.#ring.command("stop spans");
  }

  override async takeSpans(origin: Event): Promise<readonly Span[]> {
    const { promise, resolve } = Promise.withResolvers<readonly Span[]>();
    this.#spansTaken = resolve;
    this.#ring.untilDone(this.#ring.command("take spans", origin.handle));
    // The answer is under way; it keeps the program alive.
    this.#worker.ref();
    try {
      return await promise;
    } finally {
      this.#worker.unref();
    }
  }

  /** Waits for the calls on their way; the thread then waits for the stream, destroys it and ends. */
  override [Symbol.dispose](): void {
    if (this.isDisposed) return;
    this.forget();
    try {
      this.#ring.untilDone(this.#ring.command("close"));
    } finally {
      this.#worker.terminate();
    }
  }

  #push<Name extends SymbolName>(name: Name, ...args: Arguments<Name>): void {
    this.#ring.push(name, this.device.library.prepare(name, ...args));
  }
}

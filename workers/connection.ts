import { TamiasError } from "../ffi/errors.ts";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import type { GenerateOptions } from "../src/pipeline/options.ts";
import { Mailbox } from "./mailbox.ts";
import { type AboutModel, fromPlainError, type FromWorker, toPlainError, type ToWorker } from "./protocol.ts";

/** A model opened in another thread or process; used as `Tamias` is. */
export interface RemoteTamias extends AboutModel, AsyncDisposable {
  /** Device memory held at the latest event; undefined before the first. */
  readonly deviceBytes: number | undefined;
  /** As `Tamias.generate`: a signal, or leaving the loop early, stops the work within one step. */
  generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void>;
  /** Stops what is running, frees the device and ends the thread or process. */
  close(): Promise<void>;
}

/** The end of `protocol.ts` that asks, whatever carries the messages. */
export class Connection {
  readonly #tell: (message: ToWorker) => void;
  readonly #requests = new Map<number, Mailbox<Answer>>();
  readonly #opened = Promise.withResolvers<AboutModel>();
  readonly #closed = Promise.withResolvers<void>();
  #failure: TamiasError | undefined;
  #nextRequest = 0;
  #deviceBytes: number | undefined;

  constructor(tell: (message: ToWorker) => void) {
    this.#tell = tell;
    // Whoever waits for these hears of a failure; so does every request.
    this.#opened.promise.catch(() => {});
  }

  get deviceBytes(): number | undefined {
    return this.#deviceBytes;
  }

  /** @throws TamiasError as `open` does */
  open(options: OpenOptions): Promise<AboutModel> {
    this.#tell({ type: "open", options });
    return this.#opened.promise;
  }

  async *generate({ signal, ...options }: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    if (this.#failure) throw this.#failure;
    const request = this.#nextRequest++;
    const mailbox = new Mailbox<Answer>();
    this.#requests.set(request, mailbox);
    const abort = () => this.#tell({ type: "abort", request });
    this.#tell({ type: "generate", request, options });
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    let isOver = false;
    try {
      for (;;) {
        const message = await mailbox.next();
        isOver = message.type !== "event";
        if (message.type === "failed") throw fromPlainError(message.error);
        if (message.type !== "event") return;
        yield message.event;
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#requests.delete(request);
      if (!isOver && !this.#failure) abort();
    }
  }

  /** Stops what is running and frees the device; resolves when the other end has said so, or is gone. */
  async close(): Promise<void> {
    if (this.#failure) return;
    this.#tell({ type: "close" });
    await this.#closed.promise;
    this.fail(new TamiasError("disposed", "This model has been closed."));
  }

  receive(message: FromWorker): void {
    switch (message.type) {
      case "opened":
        return this.#opened.resolve(message);
      case "refused":
        return this.#opened.reject(fromPlainError(message.error));
      case "closed":
        return this.#closed.resolve();
      default:
        if (message.type === "event") this.#deviceBytes = message.deviceBytes;
        this.#requests.get(message.request)?.put(message);
    }
  }

  /** The other end is gone: whatever waits, and whatever is asked later, fails with this error. */
  fail(error: TamiasError): void {
    this.#failure ??= error;
    this.#opened.reject(error);
    this.#closed.resolve();
    for (const [request, mailbox] of this.#requests)
      mailbox.put({ type: "failed", request, error: toPlainError(error) });
  }
}

type Answer = Extract<FromWorker, { request: number }>;

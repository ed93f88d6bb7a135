import { TamiasError } from "../ffi/errors.ts";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import type { GenerateOptions } from "../src/pipeline/options.ts";
import { fromPlainError, type FromWorker, type ToWorker } from "./protocol.ts";

/**
 * Opens a model in a Worker of its own. The same use as `open`; pictures are handed over without a copy.
 * @throws TamiasError as `open` does
 */
export async function openInWorker(options: OpenOptions): Promise<WorkerTamias> {
  const worker = new Worker(new URL("./denoise.ts", import.meta.url));
  const answer = new Promise<FromWorker>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => resolve(data);
    worker.onerror = ({ message }) =>
      reject(new TamiasError("internal", `The denoise worker could not start: ${message}`));
  });
  tell(worker, { type: "open", options });
  try {
    const opened = await answer;
    if (opened.type === "refused") throw fromPlainError(opened.error);
    if (opened.type !== "opened")
      throw new TamiasError("internal", `The worker answered ${opened.type} to open.`);
    return new WorkerTamias(worker, opened.model, opened.device);
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

/** A model opened in a Worker. */
export class WorkerTamias implements AsyncDisposable {
  readonly model: string;
  /** Name of the device. */
  readonly device: string;
  readonly #worker: Worker;
  readonly #requests = new Map<number, Mailbox>();
  #nextRequest = 0;
  #closed: Promise<void> | undefined;

  constructor(worker: Worker, model: string, device: string) {
    this.model = model;
    this.device = device;
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    worker.onerror = ({ message }) =>
      this.#failAll(new TamiasError("internal", `The denoise worker failed: ${message}`));
  }

  /** As `Tamias.generate`: a signal, or leaving the loop early, stops the work within one step. */
  async *generate({ signal, ...options }: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    if (this.#closed) throw new TamiasError("disposed", "This model has been closed.");
    const request = this.#nextRequest++;
    const mailbox = new Mailbox();
    this.#requests.set(request, mailbox);
    const abort = () => tell(this.#worker, { type: "abort", request });
    tell(this.#worker, { type: "generate", request, options });
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
      if (!isOver) abort();
    }
  }

  /** Stops what is running, frees the device and ends the Worker. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    const closed = Promise.withResolvers<void>();
    this.#worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => {
      if (data.type === "closed") closed.resolve();
    });
    tell(this.#worker, { type: "close" });
    await closed.promise;
    this.#worker.terminate();
    this.#failAll(new TamiasError("disposed", "This model has been closed."));
  }

  #receive(message: FromWorker): void {
    if ("request" in message) this.#requests.get(message.request)?.put(message);
  }

  #failAll({ code, message }: TamiasError): void {
    for (const [request, mailbox] of this.#requests)
      mailbox.put({ type: "failed", request, error: { code, message } });
  }
}

type Answer = Extract<FromWorker, { request: number }>;

/** Messages in the order they came, for one reader. */
class Mailbox {
  readonly #messages: Answer[] = [];
  #reader: ((message: Answer) => void) | undefined;

  put(message: Answer): void {
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader) reader(message);
    else this.#messages.push(message);
  }

  next(): Promise<Answer> {
    const message = this.#messages.shift();
    if (message) return Promise.resolve(message);
    return new Promise((resolve) => {
      this.#reader = resolve;
    });
  }
}

function tell(worker: Worker, message: ToWorker): void {
  worker.postMessage(message);
}

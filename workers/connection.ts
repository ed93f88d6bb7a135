import { errorCode, TamiasError } from "../ffi/errors.ts";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import type { GenerateOptions } from "../src/pipeline/options.ts";
import { Alarm, type Deadlines, SilenceLimit } from "./deadlines.ts";
import { Mailbox } from "./mailbox.ts";
import { type AboutModel, fromPlainError, type FromWorker, toPlainError, type ToWorker } from "./protocol.ts";

/** What a thread or process that was told to close may still take, in seconds. */
export const CLOSE_SECONDS = 5;

/** A model opened in another thread or process; used as `Tamias` is. */
export interface RemoteTamias extends AboutModel, AsyncDisposable {
  /** Device memory held at the latest event; undefined before the first. */
  readonly deviceBytes: number | undefined;
  /** Why a request would not run now, in half a sentence; undefined: it would. */
  readonly unavailable: string | undefined;
  /** As `Tamias.generate`: a signal, or leaving the loop early, stops the work within one step. */
  generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void>;
  /** Stops what is running, frees the device and ends the thread or process. */
  close(): Promise<void>;
}

/**
 * The end of `protocol.ts` that asks, whatever carries the messages. A device that has failed, or is silent past its
 * deadline, is not asked again: what waits and what is asked later fails.
 */
export class Connection {
  readonly #tell: (message: ToWorker) => void;
  readonly #deadlines: Deadlines;
  readonly #end: () => void;
  readonly #requests = new Map<number, (answer: Answer) => void>();
  readonly #opened = Promise.withResolvers<AboutModel>();
  readonly #closed = Promise.withResolvers<void>();
  #failure: TamiasError | undefined;
  #nextRequest = 0;
  #deviceBytes: number | undefined;

  /** @param end ends the other end without its consent; called when it is not to be asked again */
  constructor(tell: (message: ToWorker) => void, deadlines: Deadlines, end: () => void) {
    this.#tell = tell;
    this.#deadlines = deadlines;
    this.#end = end;
    // Whoever waits for these hears of a failure; so does every request.
    this.#opened.promise.catch(() => {});
  }

  get deviceBytes(): number | undefined {
    return this.#deviceBytes;
  }

  /** Why it is not asked any more. */
  get failure(): TamiasError | undefined {
    return this.#failure;
  }

  /** @throws TamiasError as `open` does; `device_lost` when it takes too long */
  async open(options: OpenOptions): Promise<AboutModel> {
    const { load } = this.#deadlines;
    using alarm = new Alarm();
    alarm.set(load, () =>
      this.giveUp(new TamiasError("device_lost", `The model was not open after ${load} s.`)),
    );
    this.#tell({ type: "open", options });
    return await this.#opened.promise;
  }

  /** Requests are to be made one after another. An iterator that is returned ends when the device is free. */
  async *generate({ signal, ...options }: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    if (this.#failure) throw this.#failure;
    const request = this.#nextRequest++;
    const answers = new Mailbox<Answer>();
    const limit = new SilenceLimit(this.#deadlines);
    using alarm = new Alarm();
    let isStopping = false;
    let isOver = false;
    const over = Promise.withResolvers<void>();
    this.#requests.set(request, (answer) => {
      isOver ||= answer.type === "done" || answer.type === "failed";
      // Told to stop, it has one deadline for all that may still come.
      if (isOver || !isStopping) alarm.clear();
      if (isOver) over.resolve();
      answers.put(answer);
      if (answer.type === "failed" && answer.error.code === "device_failed")
        this.giveUp(failedBefore(answer.error.message));
    });
    const stop = (): void => {
      if (isStopping || isOver) return;
      isStopping = true;
      this.#tell({ type: "abort", request });
      alarm.set(this.#deadlines.stop, () => this.giveUp(didNotStop(this.#deadlines.stop)));
    };
    const next = (seconds: number, onSilence: (seconds: number) => TamiasError): Promise<Answer> => {
      if (!isStopping && answers.length === 0) alarm.set(seconds, () => this.giveUp(onSilence(seconds)));
      return answers.next();
    };
    this.#tell({ type: "generate", request, options });
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop();
    try {
      let answer = await next(this.#deadlines.stop, doesNotAnswer);
      for (; answer.type !== "done"; answer = await next(limit.seconds, didNothing)) {
        if (answer.type === "failed") throw asAsked(fromPlainError(answer.error), signal);
        if (answer.type !== "event") continue;
        limit.see(answer.event);
        yield answer.event;
        this.#tell({ type: "taken", request });
      }
    } finally {
      stop();
      await over.promise;
      signal?.removeEventListener("abort", stop);
      this.#requests.delete(request);
    }
  }

  /** Stops what is running and frees the device; resolves when the other end has said so, or is gone. */
  async close(): Promise<void> {
    if (this.#failure) return;
    using alarm = new Alarm();
    alarm.set(CLOSE_SECONDS, () => this.giveUp(didNotStop(CLOSE_SECONDS)));
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
        this.#requests.get(message.request)?.(message);
    }
  }

  /** The other end is gone: whatever waits, and whatever is asked later, fails with this error. */
  fail(error: TamiasError): void {
    this.#failure ??= error;
    this.#opened.reject(error);
    this.#closed.resolve();
    for (const [request, take] of this.#requests)
      take({ type: "failed", request, error: toPlainError(this.#failure) });
  }

  /** The other end is to be ended, for this reason. */
  giveUp(error: TamiasError): void {
    if (this.#failure) return;
    this.fail(error);
    this.#end();
  }
}

type Answer = Extract<FromWorker, { request: number }>;

/** Who asked for a stop gets it, even from a device that had to be ended for it. */
function asAsked(error: TamiasError, signal: AbortSignal | undefined): TamiasError {
  const isGone = errorCode(error) === "device_failed" || errorCode(error) === "device_lost";
  if (!signal?.aborted || !isGone) return error;
  return new TamiasError("aborted", "The work was stopped.", { cause: error, later: [error.message] });
}

function doesNotAnswer(seconds: number): TamiasError {
  return new TamiasError("device_lost", `What owns the device did not answer within ${seconds} s.`);
}

function didNothing(seconds: number): TamiasError {
  const rounded = Math.round(seconds * 10) / 10;
  return new TamiasError("device_failed", `The device did nothing for ${rounded} s: it hangs.`, {
    hint: "If it only needs longer, raise the deadlines it was opened with.",
  });
}

function didNotStop(seconds: number): TamiasError {
  return new TamiasError("device_failed", `The device did not stop within ${seconds} s of being told to.`);
}

function failedBefore(message: string): TamiasError {
  return new TamiasError("device_failed", `The device failed before: ${message}`, {
    hint: "Open the model again.",
  });
}

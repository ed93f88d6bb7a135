import { errorCode, TamiasError } from "../ffi/errors.ts";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import type { PictureSizes, RequestDefaults } from "../src/models/family.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import { checkOptions, type GenerateOptions } from "../src/pipeline/options.ts";
import { RequestQueue } from "../src/pipeline/request-queue.ts";
import { untilAborted } from "../src/pipeline/until-aborted.ts";
import { type ChildOptions, ChildProcess } from "./child-process.ts";
import type { RemoteTamias } from "./connection.ts";
import { afterLoading, type AskedDeadlines, type Deadlines, settleDeadlines } from "./deadlines.ts";

/** Starts in a row that may fail before the requests that wait for one are told so. */
const MAX_STARTS = 5;
/** Times a request is handed to a process before its loss is told, when none has begun the work. */
const MAX_TRIES = 2;
const FIRST_BACKOFF_MILLISECONDS = 100;
const LONGEST_BACKOFF_MILLISECONDS = 30_000;
/** A request has a start that was given up tried again, but not more often than this. */
const HURRIED_MILLISECONDS = 1000;

export interface ProcessOptions extends OpenOptions {
  /** What is left out is as in `defaultDeadlines`. */
  readonly deadlines?: AskedDeadlines | undefined;
  /** Is told what becomes of the process. */
  readonly onProcess?: ((event: ProcessEvent) => void) | undefined;
}

export type ProcessEvent =
  | { readonly type: "started"; readonly pid: number }
  /** It ended, or could not be started; another is started after so many seconds. */
  | { readonly type: "ended" | "not started"; readonly reason: string; readonly backoffSeconds: number };

/**
 * Opens a model in a child process of its own, which is started again when it dies, fails or hangs: native code that
 * crashes costs one request, not the program. The same use as `open`.
 * @throws TamiasError as `open` does; `device_lost` when the process dies while it opens the model
 */
export async function openInProcess(options: ProcessOptions): Promise<ProcessTamias> {
  const { deadlines, onProcess = () => {}, ...open } = options;
  return ProcessTamias.open((stop) => ChildProcess.start(open, stop), {
    deadlines: settleDeadlines(deadlines),
    onProcess,
  });
}

/** Starts a process; the signal ends it before it has started. */
export type StartProcess = (limits: Pick<ChildOptions, "signal" | "deadlines">) => Promise<ChildProcess>;

interface SupervisorOptions {
  readonly deadlines: Deadlines;
  readonly onProcess: (event: ProcessEvent) => void;
}

/** A model opened in a supervised process. */
export class ProcessTamias implements RemoteTamias {
  readonly model: string;
  readonly device: string;
  readonly sizes: PictureSizes;
  readonly defaults: RequestDefaults;
  readonly #start: StartProcess;
  readonly #deadlines: Deadlines;
  readonly #requests: RequestQueue;
  readonly #onProcess: (event: ProcessEvent) => void;
  readonly #closing = new AbortController();
  /** The process that runs; undefined while there is none. */
  #child: ChildProcess | undefined;
  /** What requests wait for while there is none; rejected each time that starting one is given up. */
  #successor = promised<ChildProcess>();
  /** Why the latest start failed, once requests have been told. */
  #startError: TamiasError | undefined;
  #hurry: () => void = () => {};
  #restarts = 0;
  /** Ends and failed starts since a request last got its picture; the back-off grows with them. */
  #failures = 0;
  #restarting: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  static async open(start: StartProcess, options: SupervisorOptions): Promise<ProcessTamias> {
    const began = performance.now();
    const { signal } = new AbortController();
    const child = await start({ signal, deadlines: options.deadlines });
    const loadSeconds = (performance.now() - began) / 1000;
    return new ProcessTamias(child, start, {
      ...options,
      deadlines: afterLoading(options.deadlines, loadSeconds),
    });
  }

  private constructor(child: ChildProcess, start: StartProcess, { deadlines, onProcess }: SupervisorOptions) {
    this.model = child.model;
    this.device = child.device;
    this.sizes = child.sizes;
    this.defaults = child.defaults;
    this.#start = start;
    this.#deadlines = deadlines;
    this.#requests = new RequestQueue(deadlines.untaken);
    this.#onProcess = onProcess;
    this.#watch(child);
  }

  /** The process that owns the device; undefined while there is none. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get deviceBytes(): number | undefined {
    return this.#child?.deviceBytes;
  }

  get unavailable(): string | undefined {
    if (this.#closing.signal.aborted) return "the model has been closed";
    if (this.#child && !this.#child.failure) return undefined;
    return this.#startError ? this.#startError.message : "the device's process is being started again";
  }

  /** How often the process was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /**
   * As `Tamias.generate`. A process that dies fails the request it works on; requests that wait for their turn, or that
   * it has not begun, go to the next one.
   * @throws TamiasError `device_failed`, `device_lost`
   */
  async *generate({ signal, ...options }: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    checkOptions({ ...options, signal });
    yield* this.#requests.run((stop) => this.#try({ ...options, signal: stop }), signal);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([this.#requests.close(), this.#child?.stop(), this.#restarting]);
  }

  async *#try(
    options: GenerateOptions & { readonly signal: AbortSignal },
  ): AsyncGenerator<GenerateEvent, void, void> {
    for (let attempt = 1; ; attempt++) {
      const child = await untilAborted(this.#running(), options.signal);
      let hasBegun = false;
      try {
        for await (const event of child.generate(options)) {
          hasBegun = true;
          // Whoever has the picture may not come back for more.
          if (event.type === "result") this.#failures = 0;
          yield event;
        }
        return;
      } catch (error) {
        if (errorCode(error) !== "device_lost" || hasBegun || attempt === MAX_TRIES) throw error;
      }
    }
  }

  async #running(): Promise<ChildProcess> {
    while (this.#child?.failure) await this.#child.exited;
    if (this.#child) return this.#child;
    this.#hurry();
    return await this.#successor.promise;
  }

  #watch(child: ChildProcess): void {
    this.#child = child;
    child.exited.then(() => {
      this.#child = undefined;
      this.#successor = promised();
      this.#restarting = this.#restart(child.failure?.message ?? "It ended.");
    });
  }

  async #restart(why: string): Promise<void> {
    let event: ProcessEvent["type"] = "ended";
    let reason = why;
    for (let starts = 1; !this.#closing.signal.aborted; starts++) {
      const backoff = Math.min(
        LONGEST_BACKOFF_MILLISECONDS,
        FIRST_BACKOFF_MILLISECONDS * 2 ** this.#failures++,
      );
      this.#onProcess({ type: event, reason, backoffSeconds: backoff / 1000 });
      await this.#pause(backoff, starts > MAX_STARTS);
      if (this.#closing.signal.aborted) return;
      try {
        const child = await this.#start({ signal: this.#closing.signal, deadlines: this.#deadlines });
        if (this.#closing.signal.aborted) return await child.stop();
        this.#restarts++;
        this.#startError = undefined;
        const { resolve } = this.#successor;
        this.#watch(child);
        this.#onProcess({ type: "started", pid: child.pid });
        return resolve(child);
      } catch (error) {
        const failed = cannotStart(error);
        [event, reason] = ["not started", failed.message];
        if (starts < MAX_STARTS) continue;
        this.#startError = failed;
        this.#successor.reject(failed);
        this.#successor = promised();
      }
    }
  }

  /** @param mayHurry whether a request that comes meanwhile shortens it */
  async #pause(milliseconds: number, mayHurry: boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timers = [setTimeout(resolve, milliseconds)];
    if (mayHurry) this.#hurry = () => timers.push(setTimeout(resolve, HURRIED_MILLISECONDS));
    const wake = () => resolve();
    this.#closing.signal.addEventListener("abort", wake);
    await promise;
    this.#closing.signal.removeEventListener("abort", wake);
    this.#hurry = () => {};
    for (const timer of timers) clearTimeout(timer);
  }
}

/** A promise that whoever waits for it hears of; there may be nobody. */
function promised<T>(): PromiseWithResolvers<T> {
  const resolvers = Promise.withResolvers<T>();
  resolvers.promise.catch(() => {});
  return resolvers;
}

function cannotStart(error: unknown): TamiasError {
  const reason = error instanceof Error ? error.message : String(error);
  return new TamiasError("device_lost", `The process for the device cannot be started: ${reason}`, {
    hint: "Starting it is tried again, at ever longer intervals up to half a minute.",
    cause: error,
  });
}

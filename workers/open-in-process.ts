import { setTimeout as sleep } from "node:timers/promises";
import { TamiasError } from "../ffi/errors.ts";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import type { PictureSizes, RequestDefaults } from "../src/models/family.ts";
import { ExclusiveRuns } from "../src/pipeline/exclusive-runs.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import { checkOptions, type GenerateOptions } from "../src/pipeline/options.ts";
import { untilAborted } from "../src/pipeline/until-aborted.ts";
import { ChildProcess } from "./child-process.ts";
import type { RemoteTamias } from "./connection.ts";

/** Starts of one process in a row that may fail before requests are told so. */
const MAX_STARTS = 5;
/** Times a request is handed to a process before its loss is told, when none has begun the work. */
const MAX_TRIES = 2;
const FIRST_BACKOFF_MILLISECONDS = 100;
const LONGEST_BACKOFF_MILLISECONDS = 30_000;

/**
 * Opens a model in a child process of its own, which is started again when it dies: native code that crashes costs one
 * request, not the program. The same use as `open`.
 * @throws TamiasError as `open` does; `device_lost` when the process dies while it opens the model
 */
export async function openInProcess(options: OpenOptions): Promise<ProcessTamias> {
  return new ProcessTamias(options, await ChildProcess.start(options, new AbortController().signal));
}

/** A model opened in a supervised process. */
export class ProcessTamias implements RemoteTamias {
  readonly model: string;
  readonly device: string;
  readonly sizes: PictureSizes;
  readonly defaults: RequestDefaults;
  readonly #options: OpenOptions;
  readonly #runs = new ExclusiveRuns();
  readonly #closing = new AbortController();
  /** The process that runs, or the one that is being started; rejected when starting was given up. */
  #child: Promise<ChildProcess>;
  #alive: ChildProcess | undefined;
  #hasGivenUp = false;
  #restarts = 0;
  /** Deaths and failed starts since a request last ended well. */
  #failures = 0;
  #closed: Promise<void> | undefined;

  constructor(options: OpenOptions, child: ChildProcess) {
    this.model = child.model;
    this.device = child.device;
    this.sizes = child.sizes;
    this.defaults = child.defaults;
    this.#options = options;
    this.#child = Promise.resolve(child);
    this.#watch(child);
  }

  /** The process that owns the device; undefined while there is none. */
  get pid(): number | undefined {
    return this.#alive?.pid;
  }

  get deviceBytes(): number | undefined {
    return this.#alive?.deviceBytes;
  }

  /** How often the process was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /**
   * As `Tamias.generate`. A process that dies fails the request it works on; requests that wait for their turn, or that
   * it has not begun, go to the next one.
   * @throws TamiasError `device_lost`
   */
  async *generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    checkOptions(options);
    yield* this.#runs.run(options.signal, (signal) => this.#generate({ ...options, signal }));
  }

  async *#generate(
    options: GenerateOptions & { readonly signal: AbortSignal },
  ): AsyncGenerator<GenerateEvent, void, void> {
    for (let attempt = 1; ; attempt++) {
      const child = await untilAborted(this.#running(), options.signal);
      let hasBegun = false;
      try {
        for await (const event of child.generate(options)) {
          hasBegun = true;
          yield event;
        }
        this.#failures = 0;
        return;
      } catch (error) {
        const isLost = error instanceof TamiasError && error.code === "device_lost";
        if (!isLost || hasBegun || attempt === MAX_TRIES) throw error;
        // Its successor is being started once it is gone.
        await child.exited;
      }
    }
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
    await this.#runs.close();
    const child = await this.#child.catch(() => undefined);
    await child?.stop();
  }

  /** Starting that was given up is tried again for each new request. */
  #running(): Promise<ChildProcess> {
    if (this.#hasGivenUp) this.#revive();
    return this.#child;
  }

  #watch(child: ChildProcess): void {
    this.#alive = child;
    child.exited.then(() => {
      this.#alive = undefined;
      if (!this.#closed) this.#revive();
    });
  }

  #revive(): void {
    this.#hasGivenUp = false;
    this.#child = this.#restart();
    this.#child.catch(() => {});
  }

  async #restart(): Promise<ChildProcess> {
    for (let start = 1; ; start++) {
      const wait = Math.min(LONGEST_BACKOFF_MILLISECONDS, FIRST_BACKOFF_MILLISECONDS * 2 ** this.#failures++);
      await sleep(wait, undefined, { signal: this.#closing.signal }).catch(() => {
        throw closedError();
      });
      try {
        const child = await ChildProcess.start(this.#options, this.#closing.signal);
        this.#restarts++;
        this.#watch(child);
        return child;
      } catch (error) {
        if (start < MAX_STARTS) continue;
        this.#hasGivenUp = true;
        this.#failures = 0;
        throw error;
      }
    }
  }
}

function closedError(): TamiasError {
  return new TamiasError("disposed", "This model has been closed.");
}

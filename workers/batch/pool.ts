import { countDevices } from "../../ffi/index.ts";
import { errorCode, type TamiasErrorCode, throwIfAborted } from "../../ffi/errors.ts";
import { untilAborted } from "../../src/pipeline/until-aborted.ts";
import type { RemoteTamias } from "../connection.ts";
import { openInProcess, type ProcessOptions } from "../open-in-process.ts";
import { toPlainError } from "../protocol.ts";
import type { BatchEvent } from "./events.ts";
import { type MadePicture, makePicture } from "./make-picture.ts";
import type { TaskRecorder } from "./task-recorder.ts";
import type { ClaimedTask, TaskQueue } from "./task-queue.ts";

/** Processes that may die on one picture before it counts as failed. */
const MAX_LOSSES = 3;

/** Errors that a model's files cause: every worker would meet them. */
const modelErrors = new Set<TamiasErrorCode>(["not_found", "bad_weights", "unsupported", "io"]);

/** Errors of the process or device, not of the picture it was at. */
const lossErrors = new Set<TamiasErrorCode | undefined>(["device_failed", "device_lost"]);

/** Works a queue off, with some processes side by side. */
export class Pool {
  readonly #options: PoolOptions;
  #active: number;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#active = options.size;
  }

  /** @throws TamiasError `aborted`; what stopped the whole batch */
  async run(): Promise<void> {
    const stop = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, stop.signal]);
    let failure: unknown;
    const devices = Math.max(1, await countDevices(this.#options.open.device ?? "auto"));
    const workers = Array.from({ length: this.#options.size }, (_, worker) =>
      this.#work(worker % devices, signal).catch((error: unknown) => {
        failure ??= error;
        stop.abort();
      }),
    );
    await Promise.all(workers);
    throwIfAborted(this.#options.signal);
    if (failure) throw failure;
  }

  async #work(index: number, signal: AbortSignal): Promise<void> {
    const { queue } = this.#options;
    let opened: { model: string; tamias: RemoteTamias } | undefined;
    await using cleanup = new AsyncDisposableStack();
    cleanup.defer(() => opened?.tamias.close());
    cleanup.defer(() => void this.#active--);
    for (;;) {
      throwIfAborted(signal);
      const task = queue.claim(opened?.model);
      if (!task) return;
      if (opened?.model !== task.model) {
        await opened?.tamias.close();
        opened = undefined;
        const tamias = await this.#open(task, index, signal);
        if (tamias === "failed") continue;
        if (tamias === "retired") return;
        opened = { model: task.model, tamias };
      }
      await this.#make(task, opened.tamias, signal);
    }
  }

  async #open(
    { id, line, losses, model }: ClaimedTask,
    index: number,
    signal: AbortSignal,
  ): Promise<RemoteTamias | "failed" | "retired"> {
    const { queue, open } = this.#options;
    const opening = openInProcess({ ...open, index, model });
    try {
      return await untilAborted(opening, signal);
    } catch (error) {
      opening.then((tamias) => tamias.close()).catch(() => {});
      const code = errorCode(error);
      const isModels = code !== undefined && modelErrors.has(code);
      if (isModels && !signal.aborted) {
        await this.#options.recorder.failed({ status: "failed", id, line, error: toPlainError(error) });
        if (this.#options.stopsAtFailure) throw error;
        return "failed";
      }
      // A process that was killed, or froze, while it loaded: another may not.
      if (!signal.aborted && code === "device_lost" && losses + 1 < MAX_LOSSES) {
        queue.release(id, losses + 1);
        this.#options.tell({ type: "retry", id, error: toPlainError(error) });
        return "failed";
      }
      queue.release(id, losses);
      // Too little memory for one more process, say: the others go on.
      if (!signal.aborted && this.#active > 1) return "retired";
      throw error;
    }
  }

  async #make(task: ClaimedTask, tamias: RemoteTamias, signal: AbortSignal): Promise<void> {
    const { queue, recorder, tell } = this.#options;
    const { id, line } = task;
    let made: MadePicture;
    try {
      made = await makePicture(tamias, task, {
        signal,
        onStep: ({ step, steps }) => recorder.step(id, step, steps),
      });
    } catch (error) {
      const isLost = lossErrors.has(errorCode(error));
      const losses = task.losses + (isLost ? 1 : 0);
      if (signal.aborted || (isLost && losses < MAX_LOSSES)) {
        recorder.forget(id);
        queue.release(id, losses);
        throwIfAborted(signal);
        return tell({ type: "retry", id, error: toPlainError(error) });
      }
      await recorder.failed({ status: "failed", id, line, error: toPlainError(error) });
      if (this.#options.stopsAtFailure) throw error;
      return;
    }
    await recorder.done(made);
  }
}

export interface PoolOptions {
  readonly queue: TaskQueue;
  readonly recorder: TaskRecorder;
  readonly open: Omit<ProcessOptions, "model">;
  /** Processes side by side. */
  readonly size: number;
  readonly stopsAtFailure: boolean;
  readonly signal: AbortSignal;
  readonly tell: (event: BatchEvent) => void;
}

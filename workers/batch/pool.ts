import { join } from "node:path";
import { TamiasError, type TamiasErrorCode, throwIfAborted } from "../../ffi/errors.ts";
import { writeFileAtomically } from "../../src/media/atomic-write.ts";
import type { OpenOptions } from "../../src/pipeline/open.ts";
import { untilAborted } from "../../src/pipeline/until-aborted.ts";
import type { RemoteTamias } from "../connection.ts";
import { openInProcess } from "../open-in-process.ts";
import { toPlainError } from "../protocol.ts";
import type { BatchEvent, BatchProgress } from "./events.ts";
import { type MadePicture, makePicture } from "./make-picture.ts";
import type { Manifest } from "./manifest.ts";
import { Pace } from "./pace.ts";
import type { FailedRecord } from "./record.ts";
import type { ClaimedTask, TaskQueue } from "./task-queue.ts";

/** Processes that may die on one picture before it counts as failed. */
const MAX_LOSSES = 3;

/** Errors that a model's files cause: every worker would meet them. */
const modelErrors = new Set<TamiasErrorCode>(["not_found", "bad_weights", "unsupported", "io"]);

/** Works a queue off, with some processes side by side. */
export class Pool {
  readonly #options: PoolOptions;
  readonly #pace: Pace;
  #pictures: number;
  #done: number;
  #failed = 0;
  #active: number;

  constructor(options: PoolOptions) {
    const { waiting, done } = options.queue.counts();
    this.#options = options;
    this.#pace = new Pace(waiting);
    this.#pictures = waiting + done;
    this.#done = done;
    this.#active = options.size;
  }

  /** @throws TamiasError `aborted`; what stopped the whole batch */
  async run(): Promise<void> {
    const stop = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, stop.signal]);
    let failure: unknown;
    const workers = Array.from({ length: this.#options.size }, () =>
      this.#work(signal).catch((error: unknown) => {
        failure ??= error;
        stop.abort();
      }),
    );
    await Promise.all(workers);
    throwIfAborted(this.#options.signal);
    if (failure) throw failure;
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { queue } = this.#options;
    let opened: { model: string; tamias: RemoteTamias } | undefined;
    try {
      for (;;) {
        throwIfAborted(signal);
        const task = queue.claim(opened?.model);
        if (!task) return;
        if (opened?.model !== task.model) {
          await opened?.tamias.close();
          opened = undefined;
          const tamias = await this.#open(task, signal);
          if (tamias === "failed") continue;
          if (tamias === "retired") return;
          opened = { model: task.model, tamias };
        }
        await this.#make(task, opened.tamias, signal);
      }
    } finally {
      this.#active--;
      await opened?.tamias.close();
    }
  }

  async #open(
    { id, line, losses, model }: ClaimedTask,
    signal: AbortSignal,
  ): Promise<RemoteTamias | "failed" | "retired"> {
    const { queue, open } = this.#options;
    const opening = openInProcess({ ...open, model });
    try {
      return await untilAborted(opening, signal);
    } catch (error) {
      opening.then((tamias) => tamias.close()).catch(() => {});
      const isModels = error instanceof TamiasError && modelErrors.has(error.code);
      if (isModels && !signal.aborted) {
        await this.#fail({ status: "failed", id, line, error: toPlainError(error) });
        if (this.#options.stopsAtFailure) throw error;
        return "failed";
      }
      queue.release(id, losses);
      // Too little memory for one more process, say: the others go on.
      if (!signal.aborted && this.#active > 1) return "retired";
      throw error;
    }
  }

  async #make(task: ClaimedTask, tamias: RemoteTamias, signal: AbortSignal): Promise<void> {
    const { queue, out, manifest, tell } = this.#options;
    const { id, line } = task;
    let made: MadePicture;
    try {
      made = await makePicture(tamias, task, {
        signal,
        onStep: ({ step, steps }) => {
          this.#pace.step(id, (step + 1) / steps);
          tell({ type: "step", id, step, steps, ...this.#progress() });
        },
      });
    } catch (error) {
      const isLost = error instanceof TamiasError && error.code === "device_lost";
      const losses = task.losses + (isLost ? 1 : 0);
      if (signal.aborted || (isLost && losses < MAX_LOSSES)) {
        this.#pace.forget(id);
        queue.release(id, losses);
        throwIfAborted(signal);
        return tell({ type: "retry", id, error: toPlainError(error) });
      }
      await this.#fail({ status: "failed", id, line, error: toPlainError(error) });
      if (this.#options.stopsAtFailure) throw error;
      return;
    }
    try {
      // The file first: a task that is recorded as done has its picture.
      await writeFileAtomically(join(out, made.record.file), made.png);
    } catch (error) {
      queue.release(id, task.losses);
      throw error;
    }
    queue.end(made.record);
    await manifest.add(made.record);
    this.#pace.end(id);
    this.#done++;
    tell({ type: "done", record: made.record, ...this.#progress() });
  }

  async #fail(record: FailedRecord): Promise<void> {
    const { queue, manifest, tell } = this.#options;
    queue.end(record);
    await manifest.add(record);
    this.#pace.end(record.id);
    this.#failed++;
    tell({ type: "failed", record, ...this.#progress() });
  }

  #progress(): BatchProgress {
    return {
      pictures: this.#pictures,
      done: this.#done,
      failed: this.#failed,
      picturesPerSecond: this.#pace.picturesPerSecond,
      secondsLeft: this.#pace.secondsLeft,
    };
  }
}

export interface PoolOptions {
  readonly queue: TaskQueue;
  readonly manifest: Manifest;
  /** Folder for the pictures. */
  readonly out: string;
  readonly open: Omit<OpenOptions, "model">;
  /** Processes side by side. */
  readonly size: number;
  readonly stopsAtFailure: boolean;
  readonly signal: AbortSignal;
  readonly tell: (event: BatchEvent) => void;
}

import { AckPolicy, type JsMsg } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { TamiasError, throwIfAborted } from "../../../ffi/errors.ts";
import { fromPlainError, toPlainError } from "../../protocol.ts";
import type { BatchEvent } from "../events.ts";
import { hexDigest } from "../job.ts";
import type { DoneRecord } from "../record.ts";
import type { TaskRecorder } from "../task-recorder.ts";
import type { TaskQueue } from "../task-queue.ts";
import {
  cancelSubject,
  pictureName,
  progressSubject,
  readProgress,
  readResult,
  resultSubject,
  RESULTS_STREAM,
  type TaskMessage,
  taskSubject,
  TASKS_STREAM,
} from "./messages.ts";
import type { QueueServer } from "./server.ts";

const ANOTHER_TRY_MILLISECONDS = 500;
/** Times a picture is looked for before its task counts as failed. */
const MAX_FETCHES = 10;
const RESULT_ACK_MILLISECONDS = 30_000;
const ASK_MILLISECONDS = 2000;

/** Has a queue worked off by the workers of a NATS server, and takes in what they make. */
export class QueuePool {
  readonly #options: QueuePoolOptions;
  readonly #batch: string;
  /** Raised by each run of the batch, so that what a later run publishes again is no repetition to the server. */
  readonly #run: number;
  readonly #consumer: string;
  /** Ends what is still going on when a part of the run has failed. */
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;

  constructor(options: QueuePoolOptions) {
    const { queue } = options;
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
    this.#batch = queue.note("batch") ?? crypto.randomUUID();
    this.#run = Number(queue.note("run") ?? 0) + 1;
    this.#consumer = `batch-${this.#batch}`;
    queue.setNote("batch", this.#batch);
    queue.setNote("run", String(this.#run));
  }

  /** @throws TamiasError `aborted`; what stopped the whole batch */
  async run(): Promise<void> {
    const { server } = this.#options;
    const signal = this.#signal;
    const progress = server.connection.subscribe(progressSubject(this.#batch), {
      callback: (_error, message) => this.#progress(message.data),
    });
    let isOver = false;
    try {
      await server.retry("Results cannot be asked for", signal, () =>
        server.manager.consumers.add(RESULTS_STREAM, {
          durable_name: this.#consumer,
          filter_subject: resultSubject(this.#batch),
          ack_policy: AckPolicy.Explicit,
          ack_wait: nanos(RESULT_ACK_MILLISECONDS),
        }),
      );
      if (this.#run > 1) await this.#takeOver();
      await Promise.all([
        this.#publishAll(),
        this.#collect(() => this.#options.queue.counts().waiting === 0),
      ]);
      isOver = true;
    } finally {
      this.#stop.abort();
      progress.unsubscribe();
      await this.#withdraw(isOver);
    }
  }

  /** An earlier run was killed: its results first, then what it had asked for is asked for anew. */
  async #takeOver(): Promise<void> {
    await this.#cancel();
    const { server } = this.#options;
    const signal = this.#signal;
    const left = async () => {
      const info = await server.retry("Results cannot be counted", signal, () =>
        server.manager.consumers.info(RESULTS_STREAM, this.#consumer),
      );
      return info.num_pending + info.num_ack_pending;
    };
    while ((await left()) > 0) {
      const message = await this.#nextResult(ASK_MILLISECONDS);
      if (message) await this.#takeIn(message);
    }
  }

  async #publishAll(): Promise<void> {
    const { queue, server, threads, previewEvery } = this.#options;
    for (let claimed = queue.claim(undefined); claimed; claimed = queue.claim(undefined)) {
      const { losses: _, ...task } = claimed;
      const message: TaskMessage = { batch: this.#batch, threads, previewEvery, task };
      const messageId = `${this.#batch}:${this.#run}:${task.id}`;
      await server.publish(taskSubject(this.#batch), message, messageId, this.#signal);
    }
  }

  async #collect(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      throwIfAborted(this.#signal);
      const message = await this.#nextResult(ASK_MILLISECONDS);
      if (message) await this.#takeIn(message);
    }
  }

  async #nextResult(expires: number): Promise<JsMsg | null> {
    const { server } = this.#options;
    return server.retry("Results cannot be fetched", this.#signal, async () => {
      const consumer = await server.jetstream.consumers.get(RESULTS_STREAM, this.#consumer);
      return consumer.next({ expires });
    });
  }

  /** A result may come twice; it counts once. */
  async #takeIn(message: JsMsg): Promise<void> {
    const { queue, recorder, stopsAtFailure } = this.#options;
    const result = readResult(message.json());
    if (!result) return message.term("no result of tamias");
    if (!queue.isWaiting(result.id)) {
      message.ack();
      return;
    }
    if (result.status === "failed") {
      await recorder.failed(result);
      message.ack();
      if (stopsAtFailure) throw fromPlainError(result.error);
      return;
    }
    const png = await this.#fetch(result);
    if (typeof png === "string") {
      if (message.info.deliveryCount < MAX_FETCHES) return message.nak(ANOTHER_TRY_MILLISECONDS);
      const error = new TamiasError("io", `The picture is not in the queue's store: ${png}.`, {
        hint: "--resume has it made again.",
      });
      const { id, line } = result;
      await recorder.failed({ status: "failed", id, line, error: toPlainError(error) });
      message.ack();
      if (stopsAtFailure) throw error;
      return;
    }
    await recorder.done({ png, record: result });
    message.ack();
    // What is left there goes with its age.
    await this.#options.server.pictures.delete(pictureName(this.#batch, result.id)).catch(() => {});
  }

  /** @returns the picture, or why there is none: another worker may be writing it too just now */
  async #fetch({ id, sha256 }: DoneRecord): Promise<Uint8Array | string> {
    try {
      const png = await this.#options.server.pictures.getBlob(pictureName(this.#batch, id));
      if (!png) return "it is missing";
      return hexDigest(png) === sha256 ? png : "it is another";
    } catch (error) {
      return (error as Error).message;
    }
  }

  #progress(data: Uint8Array): void {
    const { recorder, tell, queue } = this.#options;
    const message = readProgress(parse(data));
    if (!message || !queue.isWaiting(message.id)) return;
    switch (message.type) {
      case "step":
        return recorder.step(message.id, message.step, message.steps);
      case "retry":
        recorder.forget(message.id);
        return tell({ type: "retry", id: message.id, error: message.error });
      case "preview":
        return tell({
          type: "preview",
          id: message.id,
          step: message.step,
          png: Uint8Array.fromBase64(message.png),
        });
    }
  }

  /** What no worker has begun is taken back, what they are at is stopped. */
  async #cancel(): Promise<void> {
    const { server } = this.#options;
    await server.manager.streams.purge(TASKS_STREAM, { filter: taskSubject(this.#batch) });
    server.connection.publish(cancelSubject(this.#batch));
    await server.connection.flush();
  }

  async #withdraw(isOver: boolean): Promise<void> {
    try {
      if (!isOver) await this.#cancel();
      else await this.#options.server.manager.consumers.delete(RESULTS_STREAM, this.#consumer);
    } catch (cause) {
      // The server is away: it forgets by itself what nobody fetches.
      if (!(cause instanceof Error)) throw cause;
    }
  }
}

function parse(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
}

export interface QueuePoolOptions {
  readonly queue: TaskQueue;
  readonly recorder: TaskRecorder;
  readonly server: QueueServer;
  readonly threads: number | undefined;
  readonly previewEvery: number;
  readonly stopsAtFailure: boolean;
  readonly signal: AbortSignal;
  readonly tell: (event: BatchEvent) => void;
}

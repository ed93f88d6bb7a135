import type { JsMsg } from "@nats-io/jetstream";
import { countDevices } from "../../../ffi/index.ts";
import { errorCode, type TamiasErrorCode, throwIfAborted } from "../../../ffi/errors.ts";
import { encodePng } from "../../../src/media/png.ts";
import type { PreviewEvent, StepEvent } from "../../../src/pipeline/events.ts";
import { LinkedAbort } from "../../../src/pipeline/linked-abort.ts";
import { untilAborted } from "../../../src/pipeline/until-aborted.ts";
import type { RemoteTamias } from "../../connection.ts";
import { openInProcess, type ProcessOptions } from "../../open-in-process.ts";
import { toPlainError } from "../../protocol.ts";
import { type MadePicture, makePicture } from "../make-picture.ts";
import type { DoneRecord } from "../record.ts";
import {
  pictureName,
  type ProgressMessage,
  progressSubject,
  readTask,
  type ResultMessage,
  resultSubject,
  type TaskMessage,
  TASKS_STREAM,
  WORKERS_CONSUMER,
} from "./messages.ts";
import type { QueueServer } from "./server.ts";

/** Workers that may take a task before it counts as failed: processes die on it, or hosts lack its model. */
const MAX_DELIVERIES = 5;
/** Errors that another worker, or this one later, may be spared. */
const passing = new Set<TamiasErrorCode>(["device_failed", "device_lost", "not_found", "out_of_memory"]);
const ANOTHER_TRY_MILLISECONDS = 500;
const ASK_MILLISECONDS = 5000;
/** What a server takes as one message, less room for headers. */
const MAX_MESSAGE_BYTES = 900_000;

/** What a worker tells whoever watches it. */
export type QueueWorkerEvent =
  | { readonly type: "task"; readonly id: string }
  | { readonly type: "step"; readonly id: string; readonly step: number; readonly steps: number }
  | { readonly type: "done"; readonly id: string; readonly seconds: number }
  | { readonly type: "failed"; readonly id: string; readonly message: string };

/**
 * Makes the pictures that any batch on the server asks for, one after another in a process of its own, until the signal
 * fires.
 */
export class QueueWorker {
  readonly #server: QueueServer;
  readonly #open: Omit<ProcessOptions, "model">;
  readonly #signal: AbortSignal;
  readonly #tell: (event: QueueWorkerEvent) => void;
  /** The model that is open, as the tasks ask for it. */
  #opened: { readonly key: string; readonly tamias: RemoteTamias } | undefined;
  #current: { readonly batch: string; readonly stop: LinkedAbort } | undefined;

  constructor(
    server: QueueServer,
    open: Omit<ProcessOptions, "model">,
    { signal, tell = () => {} }: { signal: AbortSignal; tell?: (event: QueueWorkerEvent) => void },
  ) {
    this.#server = server;
    this.#open = open;
    this.#signal = signal;
    this.#tell = tell;
  }

  async run(): Promise<void> {
    const cancellations = this.#server.connection.subscribe("tamias.cancel.*", {
      callback: (_error, { subject }) => {
        if (this.#current && subject.endsWith(`.${this.#current.batch}`)) this.#current.stop.abort();
      },
    });
    await using cleanup = new AsyncDisposableStack();
    cleanup.defer(() => this.#opened?.tamias.close());
    cleanup.defer(() => cancellations.unsubscribe());
    while (!this.#signal.aborted) {
      const message = await this.#next();
      if (message) await this.#serve(message);
    }
  }

  async #next(): Promise<JsMsg | null> {
    try {
      return await this.#server.retry("Tasks cannot be asked for", this.#signal, async () => {
        const consumer = await this.#server.jetstream.consumers.get(TASKS_STREAM, WORKERS_CONSUMER);
        return await untilAborted(consumer.next({ expires: ASK_MILLISECONDS }), this.#signal);
      });
    } catch (error) {
      if (this.#signal.aborted) return null;
      throw error;
    }
  }

  async #serve(message: JsMsg): Promise<void> {
    const order = readTask(parse(message));
    if (!order) return message.term("no task of tamias");
    using stop = new LinkedAbort(this.#signal);
    const { signal } = stop;
    this.#current = { batch: order.batch, stop };
    // Rejections are for whoever waits; nobody may.
    const alive = setInterval(() => message.working(), this.#server.ackWaitMilliseconds / 3);
    try {
      const found = message.info.deliveryCount > 1 ? await this.#madeBefore(order, signal) : undefined;
      if (found) return await this.#finish(message, order, found, signal);
      this.#tell({ type: "task", id: order.task.id });
      await this.#make(message, order, signal);
    } catch (error) {
      // Cancelled tasks are gone for good; those of a worker that is to stop go to another at once.
      if (stop.isOwn) message.term("cancelled");
      else message.nak();
      if (!signal.aborted) throw error;
    } finally {
      clearInterval(alive);
      this.#current = undefined;
    }
  }

  async #make(message: JsMsg, order: TaskMessage, signal: AbortSignal): Promise<void> {
    const { batch, task } = order;
    let made: MadePicture;
    try {
      const tamias = await this.#model(order, signal);
      made = await makePicture(tamias, task, {
        signal,
        previewEvery: order.previewEvery,
        onStep: (event) => this.#step(batch, task.id, event),
        onPreview: (event) => this.#preview(batch, task.id, event),
      });
    } catch (error) {
      throwIfAborted(signal);
      const plain = toPlainError(error);
      if (passing.has(plain.code) && message.info.deliveryCount < MAX_DELIVERIES) {
        this.#progress(batch, { type: "retry", id: task.id, error: plain });
        return message.nak(ANOTHER_TRY_MILLISECONDS);
      }
      this.#tell({ type: "failed", id: task.id, message: plain.message });
      const failed = { status: "failed", id: task.id, line: task.line, error: plain } as const;
      return this.#finish(message, order, failed, signal);
    }
    const { png, record } = made;
    // The record travels with the picture: whoever gets the task again finds both.
    const about = { name: pictureName(batch, task.id), metadata: { record: JSON.stringify(record) } };
    await this.#server.retry("The picture cannot be stored", signal, () =>
      this.#server.pictures.putBlob(about, png),
    );
    await this.#finish(message, order, record, signal);
    this.#tell({ type: "done", id: task.id, seconds: record.seconds.total });
  }

  /** A worker before this one made the picture and was lost before it could say so. */
  async #madeBefore({ batch, task }: TaskMessage, signal: AbortSignal): Promise<DoneRecord | undefined> {
    const info = await this.#server.retry("The picture cannot be looked for", signal, () =>
      this.#server.pictures.info(pictureName(batch, task.id)),
    );
    const record = info?.metadata?.["record"];
    return record === undefined || info?.deleted ? undefined : (JSON.parse(record) as DoneRecord);
  }

  /** Tells the result, then takes the task off the queue. In between nothing is lost: the result has an id. */
  async #finish(
    message: JsMsg,
    { batch }: TaskMessage,
    result: ResultMessage,
    signal: AbortSignal,
  ): Promise<void> {
    const messageId = `${batch}:${result.id}:${message.seq}`;
    await this.#server.publish(resultSubject(batch), result, messageId, signal);
    message.ack();
  }

  async #model(
    { task, threads = this.#open.threads }: TaskMessage,
    signal: AbortSignal,
  ): Promise<RemoteTamias> {
    const key = JSON.stringify([task.model, threads]);
    if (this.#opened?.key === key) return this.#opened.tamias;
    await this.#opened?.tamias.close();
    this.#opened = undefined;
    const opening = openInProcess({ ...this.#open, model: task.model, threads });
    try {
      const tamias = await untilAborted(opening, signal);
      this.#opened = { key, tamias };
      return tamias;
    } catch (error) {
      opening.then((tamias) => tamias.close()).catch(() => {});
      throw error;
    }
  }

  #step(batch: string, id: string, { step, steps }: StepEvent): void {
    this.#tell({ type: "step", id, step, steps });
    this.#progress(batch, { type: "step", id, step, steps });
  }

  #preview(batch: string, id: string, event: PreviewEvent): void {
    const png = encodePng(event).toBase64();
    if (png.length < MAX_MESSAGE_BYTES) this.#progress(batch, { type: "preview", id, step: event.step, png });
  }

  /** Progress is told once, to whoever listens. */
  #progress(batch: string, message: ProgressMessage): void {
    if (!this.#server.connection.isClosed())
      this.#server.connection.publish(progressSubject(batch), JSON.stringify(message));
  }
}

function parse(message: JsMsg): unknown {
  try {
    return message.json();
  } catch {
    return undefined;
  }
}

/**
 * Serves a queue with some workers side by side until the signal fires.
 * @throws TamiasError what a worker could not go on from
 */
export async function serveQueue(
  server: QueueServer,
  open: Omit<ProcessOptions, "model">,
  {
    workers,
    signal,
    tell,
  }: { workers: number; signal: AbortSignal; tell?: (event: QueueWorkerEvent) => void },
): Promise<void> {
  const stop = new AbortController();
  const any = AbortSignal.any([signal, stop.signal]);
  let failure: unknown;
  const devices = workers === 0 ? 1 : Math.max(1, await countDevices(open.device ?? "auto"));
  await Promise.all(
    Array.from({ length: workers }, (_, worker) =>
      new QueueWorker(
        server,
        { ...open, index: worker % devices },
        { signal: any, ...(tell ? { tell } : {}) },
      )
        .run()
        .catch((error: unknown) => {
          if (errorCode(error) !== "aborted") failure ??= error;
          stop.abort();
        }),
    ),
  );
  if (failure) throw failure;
}

import { existsSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { TamiasError, throwIfAborted } from "../../ffi/errors.ts";
import { costsSchema } from "../../src/delta/cost-model.ts";
import { UNFINISHED_SUFFIX } from "../../src/media/atomic-write.ts";
import { ensureFolderWritable } from "../../src/media/output-path.ts";
import { badOptions } from "../../src/pipeline/options.ts";
import { deadlinesSchema } from "../deadlines.ts";
import { Mailbox } from "../mailbox.ts";
import type { ProcessOptions } from "../open-in-process.ts";
import { toPlainError } from "../protocol.ts";
import type { BatchEvent } from "./events.ts";
import type { BatchJob } from "./job.ts";
import { Manifest } from "./manifest.ts";
import type { QueuePoolOptions } from "./nats/queue-pool.ts";
import { Pool } from "./pool.ts";
import { readJobs } from "./read-jobs.ts";
import type { InvalidRecord } from "./record.ts";
import { TaskRecorder } from "./task-recorder.ts";
import { TaskQueue } from "./task-queue.ts";

const MAX_WORKERS = 256;
/** Beyond this, steps and previews are left out for a reader who is slow; what became of pictures is not. */
const MAX_EVENTS_AHEAD = 256;

const optionsSchema = z.strictObject({
  out: z.string().min(1),
  workers: z.int().min(0).max(MAX_WORKERS).optional(),
  model: z.string().min(1).default("acorn-image"),
  device: z.enum(["auto", "cpu", "cuda"]).optional(),
  threads: z.int().min(1).max(4096).optional(),
  /** What deltas cost on this machine, as `tamias bench costs` measures it. */
  costs: costsSchema.optional(),
  pipeline: z.enum(["overlap", "serial"]).optional(),
  deadlines: deadlinesSchema.optional(),
  queue: z.string().optional(),
  previewEvery: z.int().min(0).max(1000).default(0),
  resume: z.boolean().default(false),
  strict: z.boolean().default(false),
  signal: z.instanceof(AbortSignal).optional(),
});

export interface BatchOptions extends Omit<ProcessOptions, "model" | "onProcess"> {
  /** Path of a file with one job a line, or the jobs. */
  readonly jobs: string | Iterable<BatchJob>;
  /** Folder for the pictures, `manifest.jsonl` and the queue; made where it is missing. */
  readonly out: string;
  /** Processes that make pictures side by side, each with the model in its memory; default 1, with a queue 0. */
  readonly workers?: number | undefined;
  /** Address of a NATS server (nats://host) whose workers share the work; the batch's own workers are of them. */
  readonly queue?: string | undefined;
  /** With a queue: `preview` events, an estimate after every so many steps; default 0, none. */
  readonly previewEvery?: number | undefined;
  /** For jobs that name none; default acorn-image. */
  readonly model?: string | undefined;
  /** Goes on with the batch that is in `out`. */
  readonly resume?: boolean | undefined;
  /** Stops at the first line that is no job, before any work, and at the first picture that fails. */
  readonly strict?: boolean | undefined;
  /** Stops within one step; what is done stays done. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes many pictures in supervised processes. What is done is recorded in `out`, so that a batch that was stopped, or
 * killed at any moment, goes on where it was. A picture depends on its job alone, not on the batch around it.
 * Leaving the loop stops the work.
 * @throws TamiasError `bad_input`, `not_found`, `io` before any work; `aborted`; with `strict`, what failed first
 */
export async function* runBatch({ jobs, ...rest }: BatchOptions): AsyncGenerator<BatchEvent, void, void> {
  const checked = optionsSchema.safeParse(rest);
  if (!checked.success) throw badOptions(checked.error);
  const { out, model, device, threads, costs, pipeline, deadlines, resume, strict, signal } = checked.data;
  const { queue: queueUrl, previewEvery } = checked.data;
  const workers = checked.data.workers ?? (queueUrl ? 0 : 1);
  if (!queueUrl && workers === 0)
    throw new TamiasError("bad_input", "workers: 0 is for batches with a queue.");
  throwIfAborted(signal);
  const queuePath = join(out, "queue.sqlite");
  if (!resume && existsSync(queuePath))
    throw new TamiasError("bad_input", `${out} already holds a batch.`, {
      hint: "Go on with it by --resume (resume: true), or choose another folder.",
    });
  await ensureFolderWritable(out);
  await mkdir(out, { recursive: true });

  using queue = new TaskQueue(queuePath);
  await removeUnfinished(out);
  const invalid = await fill(queue, jobs, { out, model, strict });
  for (const { line, error } of invalid) yield { type: "invalid", line, error };
  const manifest = new Manifest(join(out, "manifest.jsonl"));
  await manifest.write([...queue.records(), ...invalid]);

  const began = performance.now();
  const { waiting, done } = queue.counts();
  yield { type: "start", pictures: waiting + done, done, workers };
  const stop = new AbortController();
  const events = new Mailbox<BatchEvent | { type: "over"; error: unknown }>();
  const tell = (event: BatchEvent) => {
    const isProgress = event.type === "step" || event.type === "preview";
    if (!isProgress || events.length < MAX_EVENTS_AHEAD) events.put(event);
  };
  const stopped = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const shared = {
    queue,
    recorder: new TaskRecorder({ queue, manifest, out, tell }),
    stopsAtFailure: strict,
    signal: stopped,
    tell,
  };
  const open = { device, threads, costs, pipeline, deadlines };
  const work = queueUrl
    ? runOnServer({ ...shared, url: queueUrl, open, workers, previewEvery })
    : new Pool({ ...shared, open, size: Math.min(workers, waiting) }).run();
  work.then(
    () => events.put({ type: "over", error: undefined }),
    (error: unknown) => events.put({ type: "over", error }),
  );
  {
    await using cleanup = new AsyncDisposableStack();
    cleanup.defer(async () => {
      stop.abort();
      await work.catch(() => {});
      await manifest.write([...queue.records(), ...invalid]);
    });
    for (;;) {
      const event = await events.next();
      if (event.type !== "over") {
        yield event;
        continue;
      }
      if (event.error) throw event.error;
      break;
    }
  }
  const counts = queue.counts();
  yield {
    type: "end",
    done: counts.done,
    failed: counts.failed,
    invalid: invalid.length,
    left: counts.waiting,
    seconds: (performance.now() - began) / 1000,
    manifest: manifest.path,
  };
}

/** Has the work done by whoever serves the queue, this program's own workers among them. */
async function runOnServer({
  url,
  open,
  workers,
  ...shared
}: Omit<QueuePoolOptions, "server" | "threads"> & {
  url: string;
  open: Omit<ProcessOptions, "model">;
  workers: number;
}): Promise<void> {
  const [{ QueueServer }, { QueuePool }, { serveQueue }] = await Promise.all([
    import("./nats/server.ts"),
    import("./nats/queue-pool.ts"),
    import("./nats/queue-worker.ts"),
  ]);
  await using server = await QueueServer.open({
    url,
    onWarning: (message) => shared.tell({ type: "warning", message }),
  });
  const over = new AbortController();
  const signal = AbortSignal.any([shared.signal, over.signal]);
  const own = serveQueue(server, open, { workers, signal });
  const work = new QueuePool({ ...shared, signal, server, threads: open.threads }).run();
  try {
    // Own workers end before the work only when they cannot go on.
    await Promise.race([work, own.then(() => work)]);
  } finally {
    over.abort();
    await Promise.allSettled([own, work]);
  }
}

/** Files that a run which was killed had not finished writing; no other run is at work here. */
async function removeUnfinished(folder: string): Promise<void> {
  for (const file of await readdir(folder))
    if (file.endsWith(UNFINISHED_SUFFIX)) await rm(join(folder, file), { force: true });
}

/** Reads the jobs into the queue. @returns the lines that are none */
async function fill(
  queue: TaskQueue,
  jobs: BatchOptions["jobs"],
  { out, model, strict }: { out: string; model: string; strict: boolean },
): Promise<InvalidRecord[]> {
  const invalid: InvalidRecord[] = [];
  await queue.take(
    async (add) => {
      for await (const { line, outcome } of readJobs(jobs, model)) {
        const error = outcome instanceof TamiasError ? outcome : add(outcome);
        if (error && strict) {
          const where = typeof jobs === "string" ? `${basename(jobs)}, line ${line}` : `Job ${line}`;
          const { code, message, hint } = error;
          throw new TamiasError(code, `${where}: ${message}`, hint === undefined ? {} : { hint });
        }
        if (error) invalid.push({ status: "invalid", line, error: toPlainError(error) });
      }
    },
    ({ file }) => existsSync(join(out, file)),
  );
  return invalid;
}

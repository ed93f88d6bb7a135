/** Models opened in a thread or a process of their own, used as `open`'s are, and batches of pictures. */
export type * from "./batch/events.ts";
export type { BatchJob } from "./batch/job.ts";
export type { BatchRecord } from "./batch/record.ts";
export { type BatchOptions, runBatch } from "./batch/run-batch.ts";
export type { RemoteTamias } from "./connection.ts";
export { type AskedDeadlines, type Deadlines, defaultDeadlines } from "./deadlines.ts";
export {
  openInProcess,
  type ProcessEvent,
  type ProcessOptions,
  type ProcessTamias,
} from "./open-in-process.ts";
export { openInWorker, type WorkerOptions } from "./open-in-worker.ts";

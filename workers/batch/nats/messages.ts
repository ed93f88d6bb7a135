import { z } from "zod";
import type { PlainError } from "../../protocol.ts";
import type { BatchTask } from "../job.ts";
import type { DoneRecord, FailedRecord } from "../record.ts";

/** Names on the server. A batch has one subject of each kind. */
export const TASKS_STREAM = "TAMIAS_TASKS";
export const RESULTS_STREAM = "TAMIAS_RESULTS";
export const PICTURES_BUCKET = "tamias-pictures";
export const WORKERS_CONSUMER = "workers";

export const taskSubject = (batch: string) => `tamias.tasks.${batch}`;
export const resultSubject = (batch: string) => `tamias.results.${batch}`;
/** Not stored: who does not listen misses nothing that matters. */
export const progressSubject = (batch: string) => `tamias.progress.${batch}`;
export const cancelSubject = (batch: string) => `tamias.cancel.${batch}`;

/** A picture's name in the object store; the server allows few characters. */
export const pictureName = (batch: string, id: string) => `${batch}/${id}`;

/** A task on its way to any worker of any host. */
export interface TaskMessage {
  readonly batch: string;
  /** CPU threads that the batch asks for; absent: the worker's own. */
  readonly threads?: number | undefined;
  /** A preview after every so many steps; 0: none. */
  readonly previewEvery: number;
  readonly task: BatchTask;
}

/** How a task ended. A picture lies in the object store by then. */
export type ResultMessage = DoneRecord | FailedRecord;

export type ProgressMessage =
  | { readonly type: "step"; readonly id: string; readonly step: number; readonly steps: number }
  | {
      readonly type: "preview";
      readonly id: string;
      readonly step: number;
      /** PNG, base64 */
      readonly png: string;
    }
  | { readonly type: "retry"; readonly id: string; readonly error: PlainError };

const taskSchema = z.object({
  batch: z.string().regex(/^[0-9a-f-]+$/),
  threads: z.int().min(1).optional(),
  previewEvery: z.int().min(0).default(0),
  task: z.object({
    id: z.string(),
    line: z.int(),
    model: z.string(),
    options: z.looseObject({ prompt: z.string(), seed: z.int() }),
  }),
});

const endSchema = z.union([
  z.looseObject({ status: z.literal("done"), id: z.string(), file: z.string(), sha256: z.string() }),
  z.looseObject({ status: z.literal("failed"), id: z.string() }),
]);

const progressSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("step"), id: z.string(), step: z.int(), steps: z.int() }),
  z.object({ type: z.literal("preview"), id: z.string(), step: z.int(), png: z.string() }),
  z.object({
    type: z.literal("retry"),
    id: z.string(),
    error: z.looseObject({ code: z.string(), message: z.string() }),
  }),
]);

/** undefined: no message of this program. */
export const readTask = (json: unknown) => taskSchema.safeParse(json).data as TaskMessage | undefined;
export const readResult = (json: unknown) => endSchema.safeParse(json).data as ResultMessage | undefined;
export const readProgress = (json: unknown) =>
  progressSchema.safeParse(json).data as ProgressMessage | undefined;

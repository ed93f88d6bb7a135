import type { PlainError } from "../protocol.ts";
import type { DoneRecord, FailedRecord, InvalidRecord } from "./record.ts";

/** What a batch tells while it runs; `end` is the last. */
export type BatchEvent =
  | InvalidEvent
  | BatchStartEvent
  | BatchStepEvent
  | BatchDoneEvent
  | BatchFailedEvent
  | BatchRetryEvent
  | BatchPreviewEvent
  | BatchWarningEvent
  | BatchEndEvent;

/** A line of the jobs file is no job; the others go on. */
export interface InvalidEvent extends Omit<InvalidRecord, "status"> {
  readonly type: "invalid";
}

export interface BatchStartEvent {
  readonly type: "start";
  /** Pictures, those included that an earlier run has made. */
  readonly pictures: number;
  readonly done: number;
  readonly workers: number;
}

/** How far the whole batch is. */
export interface BatchProgress {
  readonly pictures: number;
  readonly done: number;
  readonly failed: number;
  readonly picturesPerSecond: number;
  /** undefined before anything is known. */
  readonly secondsLeft: number | undefined;
}

export interface BatchStepEvent extends BatchProgress {
  readonly type: "step";
  readonly id: string;
  /** 0-based. */
  readonly step: number;
  readonly steps: number;
}

export interface BatchDoneEvent extends BatchProgress {
  readonly type: "done";
  readonly record: DoneRecord;
}

export interface BatchFailedEvent extends BatchProgress {
  readonly type: "failed";
  readonly record: FailedRecord;
}

/** A process died on a picture, which will be made again. */
export interface BatchRetryEvent {
  readonly type: "retry";
  readonly id: string;
  readonly error: PlainError;
}

/** An estimate of a picture that a worker of the queue is making; with `previewEvery`. */
export interface BatchPreviewEvent {
  readonly type: "preview";
  readonly id: string;
  readonly step: number;
  readonly png: Uint8Array;
}

/** Something is wrong that may pass: the queue's server is away. */
export interface BatchWarningEvent {
  readonly type: "warning";
  readonly message: string;
}

export interface BatchEndEvent {
  readonly type: "end";
  /** Pictures, those included that earlier runs have made. */
  readonly done: number;
  readonly failed: number;
  /** Lines that are no jobs. */
  readonly invalid: number;
  /** Pictures still to be made; 0 unless the batch was stopped. */
  readonly left: number;
  readonly seconds: number;
  /** Path of `manifest.jsonl`. */
  readonly manifest: string;
}

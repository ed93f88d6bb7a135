import type { ResultEvent, Settings } from "../../src/pipeline/events.ts";
import type { PlainError } from "../protocol.ts";

/** A line of `manifest.jsonl`: how a picture, or a line of the jobs file, ended. */
export type BatchRecord = DoneRecord | FailedRecord | InvalidRecord;

export interface DoneRecord {
  readonly status: "done";
  readonly id: string;
  readonly line: number;
  /** In the folder of the manifest. */
  readonly file: string;
  /** Of the file, in hexadecimal. */
  readonly sha256: string;
  readonly settings: Settings;
  readonly device: string;
  readonly seconds: ResultEvent["seconds"];
  readonly density: number;
}

export interface FailedRecord {
  readonly status: "failed";
  readonly id: string;
  readonly line: number;
  readonly error: PlainError;
}

/** A line that is no job. */
export interface InvalidRecord {
  readonly status: "invalid";
  readonly line: number;
  readonly error: PlainError;
}

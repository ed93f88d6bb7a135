import type { GenerateEvent } from "../../pipeline/events.ts";
import type { Job } from "./job.ts";

/** Is told what becomes of jobs: metrics and logs. */
export interface JobObserver {
  started?(job: Job): void;
  progressed?(job: Job, event: GenerateEvent): void;
  /** An error that nobody foresaw; the client is told no more than that. */
  mistaken?(job: Job, error: unknown): void;
  ended?(job: Job): void;
}

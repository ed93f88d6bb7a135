import type { Job } from "../jobs/job.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { Message } from "../jobs/messages.ts";

/** One message as a reader gets it. What is told only now has no id. */
export interface Told {
  readonly id?: number;
  readonly message: Message;
  readonly payload?: Uint8Array | undefined;
}

/**
 * Reads a job's messages one at a time: where it stands first, then what it told after number `after`, and signs of
 * life in between.
 * @returns gives undefined after the last
 */
export function follow(
  jobs: Jobs,
  job: Job,
  { after, heartbeatSeconds }: { after: number; heartbeatSeconds: number },
): (signal: AbortSignal) => Promise<Told | undefined> {
  let last = after;
  let greeted = false;
  return async (signal) => {
    if (!greeted) {
      greeted = true;
      if (!job.isOver) return { message: whereItStands(jobs, job) };
    }
    const entry = await job.log.next(last, { idleSeconds: heartbeatSeconds, signal });
    if (entry === undefined) return undefined;
    if (entry === "idle")
      return { message: job.state === "queued" ? whereItStands(jobs, job) : { type: "heartbeat" } };
    last = entry.id;
    return { id: entry.id, message: entry.message, payload: await entry.payload?.() };
  };
}

function whereItStands(jobs: Jobs, job: Job): Message {
  return {
    type: "queued",
    job: job.id,
    position: jobs.position(job),
    eta_seconds: jobs.secondsLeft(job) ?? null,
  };
}

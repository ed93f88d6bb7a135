import { errorFields, type Logger } from "../http/logger.ts";
import type { JobObserver } from "./observer.ts";

/** Logs how jobs fare; never what they draw. */
export function jobLogger(log: Logger): JobObserver {
  return {
    started: (job) =>
      log("info", "job started", {
        job: job.id,
        owner: job.owner,
        policy: job.request.policy,
        waited: ((job.startedAt ?? 0) - job.createdAt) / 1000,
      }),
    mistaken: (job, error) => log("error", "mistake", { job: job.id, ...errorFields(error) }),
    ended: (job) => {
      const last = job.log.last?.message;
      log(job.state === "failed" ? "error" : "info", "job ended", {
        job: job.id,
        owner: job.owner,
        state: job.state,
        steps: job.stepsDone,
        seconds: ((job.endedAt ?? 0) - job.createdAt) / 1000,
        ...(last?.type === "error" ? { code: last.code, error: last.message } : {}),
        ...(last?.type === "cancelled" ? { reason: last.reason } : {}),
      });
    },
  };
}

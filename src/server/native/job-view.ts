import { z } from "zod";
import { priorities, type Job } from "../jobs/job.ts";
import type { Jobs } from "../jobs/jobs.ts";

const iso = z.iso.datetime();

export const jobSchema = z
  .object({
    id: z.string(),
    state: z.enum(["queued", "running", "succeeded", "failed", "cancelled"]),
    position: z.int().meta({ description: "jobs before this one" }),
    eta_seconds: z
      .number()
      .nullable()
      .meta({ description: "until the picture is expected; null while the machine's pace is unknown" }),
    progress: z.object({ step: z.int(), steps: z.int() }),
    priority: z.enum(priorities),
    created_at: iso,
    started_at: iso.nullable(),
    ended_at: iso.nullable(),
    error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }).nullable(),
    links: z.object({ self: z.string(), events: z.string(), result: z.string() }),
  })
  .meta({ id: "Job" });

export type JobView = z.output<typeof jobSchema>;

/** A job as `GET /v1/jobs/:id` tells it. @param base path of the collection of jobs */
export function viewJob(jobs: Jobs, job: Job, base: string): JobView {
  const seconds = jobs.secondsLeft(job);
  return {
    id: job.id,
    state: job.state,
    position: jobs.position(job),
    eta_seconds: seconds === undefined ? null : Math.round(seconds * 10) / 10,
    progress: { step: job.stepsDone, steps: job.request.options.steps },
    priority: job.request.priority,
    created_at: new Date(job.createdAt).toISOString(),
    started_at: isoOrNull(job.startedAt),
    ended_at: isoOrNull(job.endedAt),
    error: errorOf(job),
    links: {
      self: `${base}/${job.id}`,
      events: `${base}/${job.id}/events`,
      result: `${base}/${job.id}/result`,
    },
  };
}

function errorOf(job: Job): JobView["error"] {
  const last = job.log.ended ? job.log.last?.message : undefined;
  if (last?.type === "cancelled") return { code: "cancelled", message: `Cancelled: ${last.reason}.` };
  if (last?.type !== "error") return null;
  const { code, message, hint } = last;
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}

function isoOrNull(milliseconds: number | undefined): string | null {
  return milliseconds === undefined ? null : new Date(milliseconds).toISOString();
}

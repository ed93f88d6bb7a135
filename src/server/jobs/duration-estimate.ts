import type { Job } from "./job.ts";

/** Weight of the latest observation. */
const FRESHNESS = 0.3;

/** Learns how fast jobs of each policy run, to tell others when their turn comes. */
export class DurationEstimate {
  /** Seconds for a million pixels and one step, by policy. */
  readonly #secondsPerWork = new Map<string, number>();

  observe(job: Job): void {
    if (job.state !== "succeeded" || job.startedAt === undefined || job.endedAt === undefined) return;
    const measured = (job.endedAt - job.startedAt) / 1000 / workOf(job);
    const known = this.#secondsPerWork.get(job.request.policy);
    this.#secondsPerWork.set(
      job.request.policy,
      known === undefined ? measured : known + FRESHNESS * (measured - known),
    );
  }

  /** Seconds that a job still needs once it runs; undefined before anything was measured. */
  secondsLeft(job: Job): number | undefined {
    const rate = this.#secondsPerWork.get(job.request.policy) ?? this.#mean();
    if (rate === undefined) return undefined;
    return rate * workOf(job) * (1 - job.stepsDone / job.request.options.steps);
  }

  #mean(): number | undefined {
    const known = [...this.#secondsPerWork.values()];
    return known.length === 0 ? undefined : known.reduce((sum, value) => sum + value, 0) / known.length;
  }
}

function workOf({ request: { options } }: Job): number {
  return (((options.width ?? 512) * (options.height ?? 512)) / 1e6) * options.steps;
}

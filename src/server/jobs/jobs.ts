import type { Engine } from "../engine.ts";
import type { ServerSettings } from "../settings.ts";
import { Job, type JobRequest, priorities } from "./job.ts";
import type { JobObserver } from "./observer.ts";
import { DurationEstimate } from "./duration-estimate.ts";
import { Refusal } from "./refusal.ts";
import { runJob } from "./run-job.ts";

type Limits = Pick<
  ServerSettings,
  | "queueLength"
  | "jobsPerKey"
  | "waitSeconds"
  | "runSeconds"
  | "stopSeconds"
  | "keepSeconds"
  | "keepJobs"
  | "keepBytes"
>;

/** Whose request it is, and the key by which a repetition of it is known. */
export interface Requester {
  readonly owner: string;
  readonly idempotency?: { readonly key: string; readonly fingerprint: string } | undefined;
}

interface Remembered {
  readonly fingerprint: string;
  readonly jobs: readonly Job[];
}

/** All jobs of one engine: those that wait, the one that runs, and those that ended not long ago. */
export class Jobs {
  readonly #engine: Engine;
  readonly #limits: Limits;
  readonly #observers: readonly JobObserver[];
  readonly #durations = new DurationEstimate();
  readonly #all = new Map<string, Job>();
  readonly #idempotent = new Map<string, Remembered>();
  #waiting: Job[] = [];
  #forgetTimer: ReturnType<typeof setTimeout> | undefined;
  #running: Job | undefined;
  #closing = false;

  constructor(engine: Engine, limits: Limits, observers: readonly JobObserver[]) {
    this.#engine = engine;
    this.#limits = limits;
    this.#observers = observers;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get running(): number {
    return this.#running ? 1 : 0;
  }

  get closing(): boolean {
    return this.#closing;
  }

  /** Whether the engine goes on with a job that was stopped and has ended. */
  get isStuck(): boolean {
    return this.#running !== undefined && this.#running.isOver && this.#running.stopped !== undefined;
  }

  get isFull(): boolean {
    return this.#waiting.length >= this.#limits.queueLength;
  }

  /**
   * Takes all of the requests, or none.
   * @returns their jobs; those of an earlier request where the requester repeats it
   * @throws Refusal when there is no room, the key is used for something else, or the server is shutting down
   */
  submit(requests: readonly JobRequest[], { owner, idempotency }: Requester): readonly Job[] {
    const name = idempotency && `${owner} ${idempotency.key}`;
    const earlier = name === undefined ? undefined : this.#idempotent.get(name);
    if (earlier && earlier.fingerprint !== idempotency?.fingerprint)
      throw new Refusal("idempotency_key_reused", "This Idempotency-Key came with another request before.");
    // A repetition of what failed or was cancelled is a new attempt.
    if (earlier?.jobs.every(({ state }) => state !== "failed" && state !== "cancelled")) return earlier.jobs;

    this.#checkRoom(requests.length, owner);
    const jobs = requests.map((request) => new Job(request, owner, this.#limits.stopSeconds));
    for (const job of jobs) this.#take(job);
    if (name !== undefined && idempotency)
      this.#idempotent.set(name, { fingerprint: idempotency.fingerprint, jobs });
    this.#startNext();
    return jobs;
  }

  find(id: string, owner: string): Job | undefined {
    const job = this.#all.get(id);
    return job?.owner === owner ? job : undefined;
  }

  /** Newest first. */
  list(owner: string): Job[] {
    return [...this.#all.values()].filter((job) => job.owner === owner).toReversed();
  }

  /** Jobs before this one; 0 when it is next, running or over. */
  position(job: Job): number {
    return Math.max(0, this.#waiting.indexOf(job));
  }

  /** Seconds until the job's picture is expected; undefined while nothing is known of the machine's pace. */
  secondsLeft(job: Job): number | undefined {
    if (job.isOver) return 0;
    const place = this.#waiting.indexOf(job);
    // Neither waiting nor over: it runs, or its picture is being encoded.
    if (place < 0) return this.#durations.secondsLeft(job);
    const current = this.#running ? [this.#running] : [];
    const ahead = this.#waiting.slice(0, place);
    return [...current, ...ahead, job].reduce<number | undefined>((sum, each) => {
      const left = this.#durations.secondsLeft(each);
      return sum === undefined || left === undefined ? undefined : sum + left;
    }, 0);
  }

  /** Takes no more jobs; lets those there are end for so long, then hands back what is left. */
  async close(drainSeconds: number): Promise<void> {
    this.#closing = true;
    const open = [...this.#all.values()].filter((job) => !job.isOver);
    const ended = Promise.all(open.map((job) => job.ended));
    const timer = setTimeout(() => {
      for (const job of open)
        job.stop({
          type: "error",
          code: "shutting_down",
          message: "The server shut down before this job was done; ask again.",
          retry: true,
        });
    }, drainSeconds * 1000);
    await ended;
    clearTimeout(timer);
  }

  #checkRoom(count: number, owner: string): void {
    const { queueLength, jobsPerKey } = this.#limits;
    if (this.#closing) throw new Refusal("shutting_down", "The server is shutting down.", 5);
    const retryAfter = Math.min(600, Math.ceil(this.#secondsUntilRoom() ?? 5));
    // What starts at once never waits.
    const free = queueLength - this.#waiting.length + (this.#running ? 0 : 1);
    if (count > free)
      throw new Refusal(
        "queue_full",
        `The queue is full: ${this.#waiting.length} of ${queueLength} places are taken.`,
        retryAfter,
      );
    const own = [...this.#all.values()].filter((job) => job.owner === owner && !job.isOver).length;
    if (jobsPerKey !== undefined && own + count > jobsPerKey)
      throw new Refusal(
        "too_many_jobs",
        `This API key has ${own} jobs waiting or running; ${jobsPerKey} are allowed.`,
        retryAfter,
      );
  }

  /** Room comes when the running job ends. */
  #secondsUntilRoom(): number | undefined {
    const left = this.#running && this.#durations.secondsLeft(this.#running);
    return left === undefined ? undefined : Math.max(1, left);
  }

  #take(job: Job): void {
    this.#all.set(job.id, job);
    const rank = priorities.indexOf(job.request.priority);
    const after = this.#waiting.findLastIndex(({ request }) => priorities.indexOf(request.priority) >= rank);
    this.#waiting.splice(after + 1, 0, job);
    const timer = setTimeout(() => {
      if (job.state === "queued") job.stop(tooLong("waited", this.#limits.waitSeconds));
    }, this.#limits.waitSeconds * 1000);
    void job.ended.then(() => {
      clearTimeout(timer);
      this.#waiting = this.#waiting.filter((other) => other !== job);
      this.#durations.observe(job);
      for (const observer of this.#observers) observer.ended?.(job);
      this.#forgetOld();
    });
  }

  #startNext(): void {
    if (this.#running) return;
    // A job that was stopped just now may still stand in the row.
    const job = this.#waiting.find(({ state }) => state === "queued");
    if (!job) return;
    this.#waiting = this.#waiting.filter((other) => other !== job);
    this.#running = job;
    const timer = setTimeout(
      () => job.stop(tooLong("ran", this.#limits.runSeconds)),
      this.#limits.runSeconds * 1000,
    );
    void runJob(this.#engine, job, this.#observers).then(() => {
      clearTimeout(timer);
      this.#running = undefined;
      this.#startNext();
    });
  }

  /** Lets go of jobs that ended too long ago, or that are too many; later, of those that are left. */
  #forgetOld(): void {
    const { keepSeconds, keepJobs, keepBytes } = this.#limits;
    const oldest = Date.now() - keepSeconds * 1000;
    const over = [...this.#all.values()]
      .filter((job) => job.isOver)
      .toSorted((a, b) => (b.endedAt ?? 0) - (a.endedAt ?? 0));
    let bytes = 0;
    let kept = 0;
    for (const job of over) {
      bytes += job.bytes;
      const isOld = (job.endedAt ?? 0) <= oldest;
      if (isOld || kept >= keepJobs || bytes > keepBytes) this.#all.delete(job.id);
      else kept++;
    }
    clearTimeout(this.#forgetTimer);
    if (kept > 0) {
      this.#forgetTimer = setTimeout(() => this.#forgetOld(), keepSeconds * 1000 + 1);
      this.#forgetTimer.unref();
    }
    for (const [name, { jobs }] of this.#idempotent)
      if (jobs.every((job) => !this.#all.has(job.id))) this.#idempotent.delete(name);
  }
}

function tooLong(verb: "waited" | "ran", seconds: number) {
  return {
    type: "error",
    code: "timeout",
    message: `The job ${verb} longer than the ${seconds} s that this server allows.`,
    retry: true,
  } as const;
}

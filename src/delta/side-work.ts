import type { DeviceTensor, Event } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";

/** Work that later cells need and the cell at hand does not: choosing masks, making caches. */
export interface SideWork extends Disposable {
  /**
   * Begins work on what the main stream has been given so far.
   * @param inputs temporaries of the main stream that it reads; they may be disposed at once
   * @param queue queues it; what it writes must be left alone until the job's `wait`
   */
  start(inputs: readonly DeviceTensor[], queue: (ops: Ops) => void): SideJob;

  /** Counts the jobs that a step had to wait for. Call it when the step is queued; the function when it is reached. */
  takeLate(): () => number;
}

export interface SideJob {
  /** Has later work of the main stream wait until the job is done. */
  wait(): void;
}

const done: SideJob = { wait() {} };

/** `pipeline: "serial"`: side work takes its place in the main stream. */
export class InlineWork implements SideWork {
  readonly #ops: Ops;

  constructor(ops: Ops) {
    this.#ops = ops;
  }

  start(_inputs: readonly DeviceTensor[], queue: (ops: Ops) => void): SideJob {
    queue(this.#ops);
    return done;
  }

  takeLate(): () => number {
    return () => 0;
  }

  [Symbol.dispose](): void {}
}

/** Jobs under way at once; each keeps its inputs in memory. */
const MAX_JOBS = 4;

/** `pipeline: "overlap"`: side work runs on a stream of its own; events order the two. */
export class OverlappedWork implements SideWork {
  readonly #main: Ops;
  readonly #side: Ops;
  /** Oldest first. */
  readonly #jobs: StreamJob[] = [];
  #waits: Wait[] = [];

  constructor(main: Ops, side: Ops) {
    this.#main = main;
    this.#side = side;
  }

  start(inputs: readonly DeviceTensor[], queue: (ops: Ops) => void): SideJob {
    while (this.#jobs[0]?.isOver) this.#settle(this.#jobs[0]);
    while (this.#jobs.length >= MAX_JOBS) this.#settle(this.#jobs[0]!);
    const device = this.#main.stream.device;
    const began = device.createEvent();
    const ended = device.createEvent();
    const releases = inputs.map((tensor) => this.#main.hold(tensor));
    began.record(this.#main.stream);
    this.#side.stream.waitFor(began);
    queue(this.#side);
    this.#side.stream.mark(ended);
    const job = new StreamJob(this.#side, began, ended, releases, () => this.#settle(job));
    this.#jobs.push(job);
    return job;
  }

  takeLate(): () => number {
    const waits = this.#waits;
    this.#waits = [];
    return () => {
      let late = 0;
      for (const { arrived, ended } of waits) {
        if (arrived.secondsUntil(ended) > 0) late++;
        arrived[Symbol.dispose]();
        ended[Symbol.dispose]();
      }
      return late;
    };
  }

  /** Later work of the main stream comes after all that was begun here. */
  [Symbol.dispose](): void {
    try {
      this.#side.stream.untilIssued(this.#side.stream.position);
    } finally {
      while (this.#jobs.length > 0) this.#settle(this.#jobs[0]!);
    }
    for (const { arrived, ended } of this.#waits.splice(0)) {
      arrived[Symbol.dispose]();
      ended[Symbol.dispose]();
    }
  }

  /** The main stream waits for the job unless it is over already; then nobody needs its inputs any more. */
  #settle(job: StreamJob): void {
    this.#jobs.splice(this.#jobs.indexOf(job), 1);
    job.untilIssued();
    if (job.ended.isReached) job.ended[Symbol.dispose]();
    else {
      const arrived = this.#main.stream.device.createEvent();
      arrived.record(this.#main.stream);
      this.#main.stream.waitFor(job.ended);
      this.#waits.push({ arrived, ended: job.ended });
    }
    job.release();
  }
}

/** A point of the main stream that waited for a job. */
interface Wait {
  readonly arrived: Event;
  readonly ended: Event;
}

class StreamJob implements SideJob {
  readonly ended: Event;
  readonly #began: Event;
  readonly #side: Ops;
  readonly #position: number;
  readonly #releases: readonly (() => void)[];
  readonly #settle: () => void;
  #isSettled = false;

  constructor(side: Ops, began: Event, ended: Event, releases: readonly (() => void)[], settle: () => void) {
    this.#side = side;
    this.#began = began;
    this.ended = ended;
    this.#position = side.stream.position;
    this.#releases = releases;
    this.#settle = settle;
  }

  get isOver(): boolean {
    return this.#side.stream.hasIssued(this.#position) && this.ended.isReached;
  }

  wait(): void {
    if (!this.#isSettled) this.#settle();
  }

  untilIssued(): void {
    this.#side.stream.untilIssued(this.#position);
  }

  release(): void {
    this.#isSettled = true;
    this.#began[Symbol.dispose]();
    for (const release of this.#releases) release();
  }
}

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

  /** The waits of the step that has just been queued. */
  takeWaits(): StepWaits;
}

/** Where a step waits for jobs, if they are late. */
export interface StepWaits extends Disposable {
  /** How many were; call it once the step is reached. */
  countLate(): number;
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

  takeWaits(): StepWaits {
    return { countLate: () => 0, [Symbol.dispose]() {} };
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
  /** Events that nobody waits for any more. */
  readonly #spare: Event[] = [];
  #isDisposed = false;

  constructor(main: Ops, side: Ops) {
    this.#main = main;
    this.#side = side;
  }

  start(inputs: readonly DeviceTensor[], queue: (ops: Ops) => void): SideJob {
    while (this.#jobs[0]?.isOver) this.#settle(this.#jobs[0]);
    while (this.#jobs.length >= MAX_JOBS) this.#settle(this.#jobs[0]!);
    const [began, ended] = [this.#event(), this.#event()];
    const releases = inputs.map((tensor) => this.#main.memory.hold(tensor));
    began.record(this.#main.stream);
    this.#side.stream.waitFor(began);
    queue(this.#side);
    this.#side.stream.mark(ended);
    const job = new StreamJob(this.#side, began, ended, releases, () => this.#settle(job));
    this.#jobs.push(job);
    return job;
  }

  takeWaits(): StepWaits {
    const waits = this.#waits;
    this.#waits = [];
    return {
      countLate: () => waits.filter(({ arrived, ended }) => arrived.secondsUntil(ended) > 0).length,
      [Symbol.dispose]: () => {
        for (const { arrived, ended } of waits.splice(0)) this.#giveBack(arrived, ended);
      },
    };
  }

  /** Later work of the main stream comes after all that was begun here. */
  [Symbol.dispose](): void {
    try {
      this.#side.stream.untilIssued(this.#side.stream.position);
    } finally {
      while (this.#jobs.length > 0) this.#settle(this.#jobs[0]!);
    }
    this.#isDisposed = true;
    for (const { arrived, ended } of this.#waits.splice(0)) this.#giveBack(arrived, ended);
    this.#giveBack(...this.#spare.splice(0));
  }

  /** The main stream waits for the job unless it is over already; then nobody needs its inputs any more. */
  #settle(job: StreamJob): void {
    this.#jobs.splice(this.#jobs.indexOf(job), 1);
    job.untilIssued();
    if (job.ended.isReached) this.#giveBack(job.ended);
    else {
      const arrived = this.#event();
      arrived.record(this.#main.stream);
      this.#main.stream.waitFor(job.ended);
      this.#waits.push({ arrived, ended: job.ended });
    }
    this.#giveBack(job.began);
    job.release();
  }

  #event(): Event {
    return this.#spare.pop() ?? this.#main.stream.device.createEvent();
  }

  #giveBack(...events: Event[]): void {
    if (!this.#isDisposed) this.#spare.push(...events);
    else for (const event of events) event[Symbol.dispose]();
  }
}

/** A point of the main stream that waited for a job. */
interface Wait {
  readonly arrived: Event;
  readonly ended: Event;
}

class StreamJob implements SideJob {
  readonly began: Event;
  readonly ended: Event;
  readonly #side: Ops;
  readonly #position: number;
  readonly #releases: readonly (() => void)[];
  readonly #settle: () => void;
  #isSettled = false;

  constructor(side: Ops, began: Event, ended: Event, releases: readonly (() => void)[], settle: () => void) {
    this.#side = side;
    this.began = began;
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
    for (const release of this.#releases) release();
  }
}

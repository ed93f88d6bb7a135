import type { DeviceTensor, Event } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";

/** Work that later cells need and the cell at hand does not: choosing masks, making caches. */
export interface MaskWork extends Disposable {
  /**
   * Begins work on what the main stream has been given so far.
   * @param inputs temporaries of the main stream that it reads; they may be disposed at once
   * @param queue queues it; what it writes must be left alone until the job's `wait`
   */
  start(inputs: readonly DeviceTensor[], queue: (ops: Ops) => void): MaskJob;

  /** The waits of the step that has just been queued. */
  takeWaits(): StepWaits;
}

/** Where a step waits for jobs, if they are late. */
export interface StepWaits extends Disposable {
  /** How many were; call it once the step is reached. */
  countLate(): number;
}

export interface MaskJob {
  /**
   * Has later work of the main stream wait until the job is done.
   * @throws TamiasError what one of the mask stream's calls failed with
   */
  wait(): void;
}

const done: MaskJob = { wait() {} };

/** `pipeline: "serial"`: mask work takes its place in the main stream. */
export class InlineMaskWork implements MaskWork {
  readonly #ops: Ops;

  constructor(ops: Ops) {
    this.#ops = ops;
  }

  start(_inputs: readonly DeviceTensor[], queue: (ops: Ops) => void): MaskJob {
    queue(this.#ops);
    return done;
  }

  takeWaits(): StepWaits {
    return { countLate: () => 0, [Symbol.dispose]() {} };
  }

  [Symbol.dispose](): void {}
}

/**
 * Jobs under way at once. Each keeps its inputs in memory (a refresh: its column sums, q, k, v and output), so their
 * number bounds what the mask stream may lag behind: four are the attention and neuron masks of two layers. A stream
 * that lags further does not catch up before its masks are needed, and more jobs would only cost memory.
 */
const MAX_JOBS = 4;

/** `pipeline: "overlap"`: mask work runs on a stream of its own, the mask stream; events order the two. */
export class OverlappedMaskWork implements MaskWork {
  readonly #main: Ops;
  readonly #mask: Ops;
  /** Jobs that the main stream does not wait for yet, oldest first. */
  readonly #jobs: StreamJob[] = [];
  #waits: Wait[] = [];
  /** Events that nobody waits for any more. */
  readonly #spare: Event[] = [];
  /** Once a call has failed, those after it have not run: no job can be relied on any more. */
  #failure: { readonly reason: unknown } | undefined;
  #isDisposed = false;

  /** @param mask ops of the mask stream */
  constructor(main: Ops, mask: Ops) {
    this.#main = main;
    this.#mask = mask;
  }

  start(inputs: readonly DeviceTensor[], queue: (ops: Ops) => void): MaskJob {
    while (this.#jobs[0]?.isOver) this.#settle(this.#jobs[0]);
    while (this.#jobs.length >= MAX_JOBS) this.#settle(this.#jobs[0]!);
    const job = new StreamJob(this.#event(), this.#event(), (settled) => this.#settle(settled));
    this.#jobs.push(job);
    for (const tensor of inputs) job.releases.push(this.#main.memory.hold(tensor));
    job.began.record(this.#main.stream);
    this.#orFail(() => {
      this.#mask.stream.waitFor(job.began);
      queue(this.#mask);
      this.#mask.stream.mark(job.ended);
      job.isUnderWay(this.#mask.stream);
    });
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

  /** Waits for all that was begun here; no memory it reads or writes is touched by anybody else before. */
  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    try {
      this.#mask.stream.synchronize();
    } finally {
      for (const job of this.#jobs.splice(0)) {
        job.end();
        this.#giveBack(job.began, job.ended);
      }
      for (const { arrived, ended } of this.#waits.splice(0)) this.#giveBack(arrived, ended);
      this.#giveBack(...this.#spare.splice(0));
    }
  }

  /** The main stream waits for the job unless it is over already; then nobody needs its inputs any more. */
  #settle(job: StreamJob): void {
    const at = this.#jobs.indexOf(job);
    if (at < 0) return;
    // A job that failed stays: its inputs may still be read, and are let go at the end.
    this.#orFail(() => job.untilIssued());
    if (job.ended.isReached) this.#giveBack(job.ended);
    else {
      const arrived = this.#event();
      arrived.record(this.#main.stream);
      this.#main.stream.waitFor(job.ended);
      this.#waits.push({ arrived, ended: job.ended });
    }
    this.#giveBack(job.began);
    this.#jobs.splice(at, 1);
    job.end();
  }

  /** Calls of the mask stream, which may also fail for an earlier one. */
  #orFail(calls: () => void): void {
    if (this.#failure) throw this.#failure.reason;
    try {
      calls();
    } catch (reason) {
      this.#failure = { reason };
      throw reason;
    }
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

class StreamJob implements MaskJob {
  readonly began: Event;
  readonly ended: Event;
  /** Each lets one input go. */
  readonly releases: (() => void)[] = [];
  readonly #settle: (job: StreamJob) => void;
  #stream: Ops["stream"] | undefined;
  #position = 0;

  constructor(began: Event, ended: Event, settle: (job: StreamJob) => void) {
    this.began = began;
    this.ended = ended;
    this.#settle = settle;
  }

  /** All its calls have been given to the mask stream. */
  isUnderWay(stream: Ops["stream"]): void {
    this.#stream = stream;
    this.#position = stream.position;
  }

  get isOver(): boolean {
    return this.#stream !== undefined && this.#stream.hasIssued(this.#position) && this.ended.isReached;
  }

  wait(): void {
    this.#settle(this);
  }

  untilIssued(): void {
    this.#stream?.untilIssued(this.#position);
  }

  end(): void {
    for (const release of this.releases.splice(0)) release();
  }
}

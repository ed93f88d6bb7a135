import type { GenerateEvent } from "../src/pipeline/events.ts";

/** How long a device may be silent before it is taken for hung, and ended; in seconds. */
export interface Deadlines {
  /** Until the model is open. */
  readonly load: number;
  /** Until a request's first step has been made, and from its last step to the picture. */
  readonly aroundSteps: number;
  /** Until a step has been made. Steps that have taken long allow the next `STEP_FACTOR` times as much. */
  readonly step: number;
  /** From being told to stop until it has; and for a process to answer that it has heard of a request. */
  readonly stop: number;
  /** How long events may be left untaken while another request waits; then the request is ended. */
  readonly untaken: number;
}

/** Steps of one run differ, by what is recomputed in them, but not by as much. */
const STEP_FACTOR = 20;

export const defaultDeadlines: Deadlines = {
  load: 1800,
  aroundSteps: 1800,
  step: 120,
  stop: 30,
  untaken: 30,
};

/** How long a device may be silent at each point of one run. */
export class SilenceLimit {
  readonly #deadlines: Deadlines;
  #longestStep = 0;
  #isAmongSteps = false;

  constructor(deadlines: Deadlines) {
    this.#deadlines = deadlines;
  }

  get seconds(): number {
    const { aroundSteps, step } = this.#deadlines;
    return this.#isAmongSteps ? Math.max(step, STEP_FACTOR * this.#longestStep) : aroundSteps;
  }

  see(event: GenerateEvent): void {
    if (event.type !== "step") return;
    this.#longestStep = Math.max(this.#longestStep, event.seconds);
    this.#isAmongSteps = event.step + 1 < event.steps;
  }
}

/** One deadline at a time. */
export class Alarm implements Disposable {
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Calls `ring` after so long, in place of what was set before. */
  set(seconds: number, ring: () => void): void {
    this.clear();
    this.#timer = setTimeout(ring, seconds * 1000);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}

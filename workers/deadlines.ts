import type { GenerateEvent } from "../src/pipeline/events.ts";

/** How long a device may be silent before it is taken for hung, and ended; in seconds. */
export interface Deadlines {
  /** Until the model is open for the first time; later, at most `FACTOR` times what it has taken, but not under `step`. */
  readonly load: number;
  /** Until a request's first step has been made, and from its last step to the picture. */
  readonly aroundSteps: number;
  /** Until a step has been made. Steps that have taken long allow the next `FACTOR` times as much. */
  readonly step: number;
  /** From being told to stop, or from the picture, until it is free; and until it has heard of a new request. */
  readonly stop: number;
  /** How long events may be left untaken while another request waits; then the request is ended. */
  readonly untaken: number;
}

/** Steps of one run differ by what is recomputed in them, but not by as much. */
const FACTOR = 20;

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
  #at: "around steps" | "among steps" | "picture" = "around steps";

  constructor(deadlines: Deadlines) {
    this.#deadlines = deadlines;
  }

  get seconds(): number {
    const { aroundSteps, step, stop } = this.#deadlines;
    if (this.#at === "picture") return stop;
    return this.#at === "among steps" ? Math.max(step, FACTOR * this.#longestStep) : aroundSteps;
  }

  see(event: GenerateEvent): void {
    if (event.type === "result") this.#at = "picture";
    if (event.type !== "step") return;
    this.#longestStep = Math.max(this.#longestStep, event.seconds);
    this.#at = event.step + 1 < event.steps ? "among steps" : "around steps";
  }
}

/** The deadlines of a process that is started again; the first start took `loadSeconds`. */
export function afterLoading(deadlines: Deadlines, loadSeconds: number): Deadlines {
  const { load, step } = deadlines;
  return { ...deadlines, load: Math.min(load, Math.max(step, FACTOR * loadSeconds)) };
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

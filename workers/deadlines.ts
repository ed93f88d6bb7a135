import { z } from "zod";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import { badOptions } from "../src/pipeline/options.ts";
import { ABANDONED_SECONDS } from "../src/pipeline/request-queue.ts";

const time = z.number().positive().max(86_400);

/** How long a device may be silent before it is taken for hung, and ended; in seconds. */
export const deadlinesSchema = z.strictObject({
  /** Until the model is open for the first time; later, at most `FACTOR` times what it has taken, but not under `step`. */
  load: time.default(1800),
  /** Until a request's first step has been made, and from its last step to the picture. */
  aroundSteps: time.default(1800),
  /** Until a step has been made. Steps that have taken long allow the next `FACTOR` times as much. */
  step: time.default(120),
  /** From being told to stop, or from the picture, until it is free; and until it has heard of a new request. */
  stop: time.default(30),
  /** How long events may be left untaken while another request waits; then the request is ended. */
  untaken: time.default(ABANDONED_SECONDS),
});

export type Deadlines = Readonly<z.output<typeof deadlinesSchema>>;
/** Some of them; the others are as they are by default. */
export type AskedDeadlines = Readonly<z.input<typeof deadlinesSchema>>;

export const defaultDeadlines: Deadlines = deadlinesSchema.parse({});

/** Steps of one run differ by what is recomputed in them, but not by as much. */
const FACTOR = 20;

/** @throws TamiasError `bad_input` */
export function settleDeadlines(asked: AskedDeadlines = {}): Deadlines {
  const checked = deadlinesSchema.safeParse(asked);
  if (!checked.success) throw badOptions(checked.error);
  return checked.data;
}

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

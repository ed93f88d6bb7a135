import type { StartEvent, StepEvent } from "../pipeline/events.ts";
import type { TextSink } from "./context.ts";
import { duration, percent } from "./format.ts";
import { stepWord } from "../media/step-word.ts";

/** Tells a person how far the work is. */
export interface Progress extends Disposable {
  /** Something without steps begins: loading, decoding … */
  phase(text: string): void;
  start(event: StartEvent): void;
  step(event: StepEvent): void;
  /** A line that stays. */
  note(text: string): void;
}

/** A bar on a terminal, plain lines in a pipe, nothing when quiet. */
export function makeProgress(sink: TextSink, quiet: boolean): Progress {
  if (quiet) return new NoProgress();
  return sink.isTerminal ? new ProgressBar(sink) : new ProgressLines(sink);
}

class NoProgress implements Progress {
  phase(): void {}
  start(): void {}
  step(): void {}
  note(): void {}
  [Symbol.dispose](): void {}
}

class ProgressLines implements Progress {
  readonly #sink: TextSink;
  readonly #pace = new Pace();

  constructor(sink: TextSink) {
    this.#sink = sink;
  }

  phase(text: string): void {
    this.#sink.write(`${text}\n`);
  }

  start(event: StartEvent): void {
    this.#sink.write(`${startLine(event)}\n`);
  }

  step(event: StepEvent): void {
    const left = this.#pace.secondsLeft(event);
    const parts = `attention ${percent(event.attentionDensity)}, MLP ${percent(event.mlpDensity)}`;
    const density = `density ${percent(event.density)} (${parts})`;
    this.#sink.write(
      `step ${event.step + 1}/${event.steps}: ${stepWord(event)}, ${duration(event.seconds)}, ${density}, ${duration(left)} left\n`,
    );
  }

  note(text: string): void {
    this.#sink.write(`${text}\n`);
  }

  [Symbol.dispose](): void {}
}

export const CLEAR_LINE = "\r\x1b[K";
const BAR_CHARACTERS = 24;

class ProgressBar implements Progress {
  readonly #sink: TextSink;
  readonly #pace = new Pace();

  constructor(sink: TextSink) {
    this.#sink = sink;
  }

  phase(text: string): void {
    this.#show(`${text} …`);
  }

  start(event: StartEvent): void {
    this.note(startLine(event));
    this.#show(`${bar(0)}  0/${event.settings.steps}`);
  }

  step(event: StepEvent): void {
    const left = this.#pace.secondsLeft(event);
    const done = event.step + 1;
    this.#show(
      [
        bar(done / event.steps),
        `${String(done).padStart(String(event.steps).length)}/${event.steps}`,
        `${duration(event.seconds)}/step`,
        stepWord(event).padEnd("refresh".length),
        `density ${percent(event.density)}`,
        `ETA ${duration(left)}`,
      ].join("  "),
    );
  }

  note(text: string): void {
    this.#sink.write(`${CLEAR_LINE}${text}\n`);
  }

  [Symbol.dispose](): void {
    this.#sink.write(CLEAR_LINE);
  }

  /** Cut to the terminal's width: a line that wraps could not be overwritten. */
  #show(text: string): void {
    this.#sink.write(`${CLEAR_LINE}${text.slice(0, this.#sink.columns - 1)}`);
  }
}

/** Mean seconds a step so far, which foresees a schedule of dear and cheap steps better than the last one. */
class Pace {
  #seconds = 0;

  secondsLeft({ step, steps, seconds }: StepEvent): number {
    this.#seconds += seconds;
    return (this.#seconds / (step + 1)) * (steps - step - 1);
  }
}

/** A bar that is full at 1. */
export function bar(share: number): string {
  const full = Math.round(share * BAR_CHARACTERS);
  return "█".repeat(full) + "░".repeat(BAR_CHARACTERS - full);
}

function startLine({ settings, device, imageTokens, textTokens }: StartEvent): string {
  const { model, width, height, steps, seed, policy } = settings;
  const tokens = `${imageTokens} + ${textTokens} tokens`;
  return `${model}, ${width} x ${height} (${tokens}), ${steps} steps, policy ${policy}, seed ${seed}, on ${device}`;
}

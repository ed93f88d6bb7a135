import type { BatchEvent, BatchProgress } from "../../workers/batch/events.ts";
import type { TextSink } from "./context.ts";
import { duration } from "./format.ts";
import { bar, CLEAR_LINE } from "./progress.ts";

/** Tells a person how far a batch is: a bar on a terminal, a line for each picture in a pipe. */
export class BatchReporter implements Disposable {
  readonly #sink: TextSink;
  readonly #isQuiet: boolean;

  constructor(sink: TextSink, isQuiet: boolean) {
    this.#sink = sink;
    this.#isQuiet = isQuiet;
  }

  tell(event: BatchEvent): void {
    switch (event.type) {
      case "invalid":
        return this.#line(`line ${event.line}: ${sentence(event.error)}`, true);
      case "start":
        return this.#line(
          `${event.pictures} pictures, ${event.done} of them made before; workers: ${event.workers}`,
        );
      case "step":
        return this.#show(event);
      case "done": {
        const { record } = event;
        this.#line(`${count(event)}  ${record.file}  ${duration(record.seconds.total)}, ${pace(event)}`);
        return this.#show(event);
      }
      case "failed":
        this.#line(`${event.record.id}: ${sentence(event.record.error)}`, true);
        return this.#show(event);
      case "retry":
        return this.#line(`${event.id}: ${event.error.message} It will be made again.`);
      case "warning":
        return this.#line(event.message, true);
      case "preview":
      case "end":
    }
  }

  [Symbol.dispose](): void {
    if (this.#sink.isTerminal && !this.#isQuiet) this.#sink.write(CLEAR_LINE);
  }

  #line(text: string, isProblem = false): void {
    if (this.#isQuiet && !isProblem) return;
    this.#sink.write(`${this.#sink.isTerminal ? CLEAR_LINE : ""}${text}\n`);
  }

  /** Cut to the terminal's width: a line that wraps could not be overwritten. */
  #show(progress: BatchProgress): void {
    if (this.#isQuiet || !this.#sink.isTerminal) return;
    const share = (progress.done + progress.failed) / Math.max(1, progress.pictures);
    const text = `${bar(share)}  ${count(progress)}  ${pace(progress)}`;
    this.#sink.write(`${CLEAR_LINE}${text.slice(0, this.#sink.columns - 1)}`);
  }
}

function sentence({ message, hint }: { message: string; hint?: string }): string {
  return hint ? `${message} ${hint}` : message;
}

function count({ done, failed, pictures }: BatchProgress): string {
  return `${done}/${pictures}${failed > 0 ? `, ${failed} failed` : ""}`;
}

function pace({ picturesPerSecond, secondsLeft }: BatchProgress): string {
  const rate =
    picturesPerSecond >= 1
      ? `${picturesPerSecond.toFixed(1)} pictures a second`
      : `${(picturesPerSecond * 60).toFixed(1)} pictures a minute`;
  return secondsLeft === undefined ? rate : `${rate}, ${duration(secondsLeft)} left`;
}

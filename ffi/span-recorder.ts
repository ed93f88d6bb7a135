import type { Event } from "./event.ts";
import type { SymbolName } from "./symbols.ts";

/** One op: when the device ran it, and when a thread queued it. */
export interface Span {
  readonly name: SymbolName;
  /** Seconds on the device, from the recording's origin. */
  readonly start: number;
  readonly seconds: number;
  /** When it was queued, in milliseconds since 1970, with fractions. */
  readonly queuedAt: number;
  readonly queueSeconds: number;
}

interface OpenSpan {
  readonly name: SymbolName;
  readonly queuedAt: number;
  readonly queueSeconds: number;
  readonly began: Event;
  readonly ended: Event;
}

/** What a recorder needs of the stream whose ops it notes. */
interface RecordedStream {
  readonly device: { createEvent(): Event };
  mark(event: Event): void;
  synchronize(): void;
}

/** Notes the ops of one stream by an event on either side of each. */
export class SpanRecorder implements Disposable {
  readonly #stream: RecordedStream;
  readonly #spare: Event[] = [];
  #spans: OpenSpan[] = [];

  constructor(stream: RecordedStream) {
    this.#stream = stream;
  }

  /** @returns a function to be called when the op has been queued */
  begin(name: SymbolName): () => void {
    const queuedAt = now();
    const began = this.#mark();
    return () => {
      const queueSeconds = (now() - queuedAt) / 1000;
      this.#spans.push({ name, queuedAt, queueSeconds, began, ended: this.#mark() });
    };
  }

  /** What has been noted since the last call. Waits for the stream. */
  take(origin: Event): Span[] {
    this.#stream.synchronize();
    const spans = this.#spans;
    this.#spans = [];
    return spans.map(({ name, queuedAt, queueSeconds, began, ended }) => {
      this.#spare.push(began, ended);
      const start = origin.secondsUntil(began);
      return { name, start, seconds: began.secondsUntil(ended), queuedAt, queueSeconds };
    });
  }

  [Symbol.dispose](): void {
    for (const { began, ended } of this.#spans) this.#spare.push(began, ended);
    for (const event of this.#spare.splice(0)) event[Symbol.dispose]();
    this.#spans = [];
  }

  #mark(): Event {
    const event = this.#spare.pop() ?? this.#stream.device.createEvent();
    event.record(this.#stream);
    return event;
  }
}

/** One clock for all threads. */
function now(): number {
  return performance.timeOrigin + performance.now();
}

import type { Event, Stream } from "../../ffi/index.ts";
import type { TraceEvent } from "./events.ts";

/** Notes what two streams run, from its making to `take` or its disposal. */
export class Recording implements Disposable {
  readonly #compute: Stream;
  readonly #masks: Stream | undefined;
  readonly #start: Event;
  readonly #origin: number;

  /** The streams should be idle, so that device and host clocks meet at their start. */
  constructor(compute: Stream, masks: Stream | undefined) {
    this.#compute = compute;
    this.#masks = masks;
    compute.synchronize();
    this.#start = compute.device.createEvent();
    this.#origin = performance.timeOrigin + performance.now();
    this.#start.record(compute);
    compute.recordSpans();
    masks?.recordSpans();
  }

  /** Waits for both streams. */
  async take(): Promise<Omit<TraceEvent, "type">> {
    return {
      origin: this.#origin,
      compute: await this.#compute.takeSpans(this.#start),
      masks: (await this.#masks?.takeSpans(this.#start)) ?? [],
    };
  }

  [Symbol.dispose](): void {
    this.#compute.stopSpans();
    this.#masks?.stopSpans();
    this.#start[Symbol.dispose]();
  }
}

import type { Tamias } from "../src/pipeline/open.ts";
import { FlowWindow } from "./flow-window.ts";
import { EVENTS_AHEAD, type FromWorker, toPlainError, type ToWorker } from "./protocol.ts";

/** What a host needs of an opened model. */
export type HostedModel = Pick<
  Tamias,
  "model" | "device" | "sizes" | "defaults" | "deviceBytes" | "generate" | "close"
>;

type OpenMessage = Extract<ToWorker, { type: "open" }>;
type GenerateMessage = Extract<ToWorker, { type: "generate" }>;

interface Run {
  readonly stop: AbortController;
  readonly window: FlowWindow;
}

/** The end of `protocol.ts` that owns the opened model, whatever carries the messages. */
export class ModelHost {
  readonly #open: (options: OpenMessage["options"]) => Promise<HostedModel>;
  readonly #tell: (message: FromWorker, transfer: ArrayBuffer[]) => void;
  readonly #running = new Map<number, Run>();
  #opened: HostedModel | undefined;

  /** @param tell posts a message; `transfer` lists what may be handed over without a copy */
  constructor(
    open: (options: OpenMessage["options"]) => Promise<HostedModel>,
    tell: (message: FromWorker, transfer: ArrayBuffer[]) => void,
  ) {
    this.#open = open;
    this.#tell = tell;
  }

  async receive(message: ToWorker): Promise<void> {
    switch (message.type) {
      case "open":
        try {
          this.#opened = await this.#open(message.options);
          const { model, device, sizes, defaults } = this.#opened;
          return this.#tell({ type: "opened", model, device, sizes, defaults }, []);
        } catch (error) {
          return this.#tell({ type: "refused", error: toPlainError(error) }, []);
        }
      case "generate":
        return this.#generate(message);
      case "taken":
        return this.#running.get(message.request)?.window.open();
      case "abort":
        return this.#running.get(message.request)?.stop.abort();
      case "close":
        for (const { stop } of this.#running.values()) stop.abort();
        try {
          await this.#opened?.close();
        } catch {
          // A device that has failed cannot be closed well; its thread or process ends now whatever it says.
        }
        return this.#tell({ type: "closed" }, []);
    }
  }

  async #generate({ request, options }: GenerateMessage): Promise<void> {
    const stop = new AbortController();
    const window = new FlowWindow(EVENTS_AHEAD);
    this.#running.set(request, { stop, window });
    this.#tell({ type: "accepted", request }, []);
    try {
      const opened = this.#opened!;
      for await (const event of opened.generate({ ...options, signal: stop.signal })) {
        await window.enter(stop.signal);
        const pixels = "rgb" in event ? [event.rgb.buffer as ArrayBuffer] : [];
        this.#tell({ type: "event", request, event, deviceBytes: opened.deviceBytes }, pixels);
      }
      this.#tell({ type: "done", request }, []);
    } catch (error) {
      this.#tell({ type: "failed", request, error: toPlainError(error) }, []);
    } finally {
      this.#running.delete(request);
    }
  }
}

import { open, type Tamias } from "../src/pipeline/open.ts";
import { type FromWorker, toPlainError, type ToWorker } from "./protocol.ts";

/** The end of `protocol.ts` that owns the opened model, whatever carries the messages. */
export class ModelHost {
  readonly #tell: (message: FromWorker, transfer: ArrayBuffer[]) => void;
  readonly #running = new Map<number, AbortController>();
  #tamias: Tamias | undefined;

  /** @param tell posts a message; `transfer` lists what may be handed over without a copy */
  constructor(tell: (message: FromWorker, transfer: ArrayBuffer[]) => void) {
    this.#tell = tell;
  }

  async receive(message: ToWorker): Promise<void> {
    switch (message.type) {
      case "open":
        try {
          this.#tamias = await open(message.options);
          const { model, device, sizes, defaults } = this.#tamias;
          return this.#tell({ type: "opened", model, device, sizes, defaults }, []);
        } catch (error) {
          return this.#tell({ type: "refused", error: toPlainError(error) }, []);
        }
      case "generate":
        return this.#generate(message.request, message.options);
      case "abort":
        return this.#running.get(message.request)?.abort();
      case "close":
        for (const controller of this.#running.values()) controller.abort();
        await this.#tamias?.close();
        return this.#tell({ type: "closed" }, []);
    }
  }

  async #generate(
    request: number,
    options: Extract<ToWorker, { type: "generate" }>["options"],
  ): Promise<void> {
    const controller = new AbortController();
    this.#running.set(request, controller);
    try {
      for await (const event of this.#tamias!.generate({ ...options, signal: controller.signal })) {
        const pixels = "rgb" in event ? [event.rgb.buffer as ArrayBuffer] : [];
        this.#tell({ type: "event", request, event, deviceBytes: this.#tamias!.deviceBytes }, pixels);
      }
      this.#tell({ type: "done", request }, []);
    } catch (error) {
      this.#tell({ type: "failed", request, error: toPlainError(error) }, []);
    } finally {
      this.#running.delete(request);
    }
  }
}

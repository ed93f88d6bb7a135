/**
 * A Worker that owns an opened model: it denoises in its own thread, so that the program's event loop stays free even
 * while a step is being queued. It speaks `protocol.ts`; `openInWorker` is its other end.
 */
import { open, type Tamias } from "../src/pipeline/open.ts";
import { type FromWorker, toPlainError, type ToWorker } from "./protocol.ts";

declare const self: Worker;

let tamias: Tamias | undefined;
const running = new Map<number, AbortController>();

function tell(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  self.postMessage(message, transfer);
}

self.onmessage = async ({ data }: MessageEvent<ToWorker>) => {
  switch (data.type) {
    case "open":
      try {
        tamias = await open(data.options);
        return tell({ type: "opened", model: tamias.model, device: tamias.device });
      } catch (error) {
        return tell({ type: "refused", error: toPlainError(error) });
      }
    case "generate":
      return generate(data.request, data.options);
    case "abort":
      return running.get(data.request)?.abort();
    case "close":
      for (const controller of running.values()) controller.abort();
      await tamias?.close();
      return tell({ type: "closed" });
  }
};

async function generate(
  request: number,
  options: Extract<ToWorker, { type: "generate" }>["options"],
): Promise<void> {
  const controller = new AbortController();
  running.set(request, controller);
  try {
    for await (const event of tamias!.generate({ ...options, signal: controller.signal })) {
      const pixels = "rgb" in event ? [event.rgb.buffer as ArrayBuffer] : [];
      tell({ type: "event", request, event }, pixels);
    }
    tell({ type: "done", request });
  } catch (error) {
    tell({ type: "failed", request, error: toPlainError(error) });
  } finally {
    running.delete(request);
  }
}

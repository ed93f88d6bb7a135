// A process like `workers/device-process.ts`, whose model does what a prompt says.
import { TamiasError } from "../../ffi/errors.ts";
import type { GenerateEvent } from "../../src/pipeline/events.ts";
import type { HostedModel } from "../../workers/model-host.ts";
import { serveChannel } from "../../workers/serve-channel.ts";
import { syntheticRun } from "../cli/synthetic-run.ts";

const forever = () => new Promise<never>(() => {});
let told = 0;

/** What happens after the first step. */
const scripts: Record<string, () => void | Promise<void>> = {
  "a picture": () => {},
  "the device fails": () => {
    throw new TamiasError("device_failed", "work queued earlier failed: an illegal address", { hint: "h" });
  },
  "no memory": () => {
    throw new TamiasError("out_of_memory", "There is no room.");
  },
  "cleaning up fails": () => {
    using device = {
      [Symbol.dispose]() {
        throw new TamiasError("native", "The stream cannot be destroyed.");
      },
    };
    throw new TamiasError("out_of_memory", device ? "There is no room." : "");
  },
  hang: forever,
  "block the thread": () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
  die: () => process.exit(3),
};

serveChannel(async ({ model: name }): Promise<HostedModel> => {
  if (name === "never opens") await forever();
  return {
    model: name,
    device: "Scripted",
    sizes: { native: 64, multiple: 16 },
    defaults: { steps: 20, guidance: 3.5 },
    /** Tells how many events have been made. */
    get deviceBytes() {
      return told;
    },
    async *generate({ prompt, steps = 3 }): AsyncGenerator<GenerateEvent, void, void> {
      told = 0;
      const { start, steps: events, result } = syntheticRun({ steps, layers: 1, grid: [2, 2] });
      if (prompt === "hang at once") await forever();
      for (const event of [start, ...events]) {
        told++;
        yield event.type === "step" ? { ...event, seconds: 0.01 } : event;
        if (event.type === "step" && event.step === 0) await scripts[prompt]?.();
      }
      if (prompt === "hang at the end") await forever();
      yield { ...result, rgb: new Uint8Array(12) };
      if (prompt === "hang after the picture") await forever();
    },
    async close() {
      if (name === "blocks when closed") setTimeout(() => scripts["block the thread"]?.(), 0);
    },
  };
});

import { throwIfAborted } from "../../ffi/errors.ts";
import type { GenerateEvent } from "../../src/pipeline/events.ts";
import { checkOptions, type GenerateOptions } from "../../src/pipeline/options.ts";
import type { Engine } from "../../src/server/engine.ts";
import { syntheticRun } from "../cli/synthetic-run.ts";

export interface FakeEngine extends Engine {
  /** Runs that began and those that ended, whichever way. */
  readonly counts: { started: number; ended: number; steps: number };
  /** Makes each step wait for `step()`; a deaf engine does not hear of an abort meanwhile. */
  hold(how?: { deaf: boolean }): void;
  /** Lets the run that waits do one step. */
  step(): Promise<void>;
  /** Lets everything run again. */
  free(): void;
  /** Makes the next run fail. */
  failNext(error: Error): void;
}

/** An engine that draws a gradient, at once or step by step as a test says. One run at a time, like the real one. */
export function fakeEngine({ size = 64, model = "acorn-image" } = {}): FakeEngine {
  const counts = { started: 0, ended: 0, steps: 0 };
  let held = false;
  let isDeaf = false;
  let failure: Error | undefined;
  let waiting: (() => void)[] = [];
  let turn: Promise<void> = Promise.resolve();

  async function* run(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    const checked = checkOptions(options);
    const before = turn;
    const { promise, resolve } = Promise.withResolvers<void>();
    turn = promise;
    await before;
    counts.started++;
    try {
      if (failure) {
        const error = failure;
        failure = undefined;
        throw error;
      }
      const { steps = 20, seed = 7, policy, guidance = 3.5, prompt, previewSteps } = checked;
      const [width, height] = [
        checked.width ?? checked.height ?? size,
        checked.height ?? checked.width ?? size,
      ];
      const name = typeof policy === "string" ? policy : "custom";
      const grid = [height / 16, width / 16] as const;
      const made = syntheticRun({ steps, prompt, policy: name, grid, layers: 2, textTokens: 8, neurons: 16 });
      const settings = { model, prompt, width, height, steps, seed, guidance, policy: name };
      const rgb = gradient(width, height, seed);
      throwIfAborted(options.signal);
      yield { ...made.start, settings };
      for (const step of made.steps) {
        throwIfAborted(options.signal);
        if (held) await waitForStep(options.signal);
        throwIfAborted(options.signal);
        counts.steps++;
        yield checked.recordColumns ? step : { ...step, cells: step.cells.map(withoutColumns) };
        if (previewSteps.includes(step.step) && step.step + 1 < steps)
          yield { type: "preview", step: step.step, width, height, rgb };
      }
      yield { ...made.result, settings, width, height, rgb };
    } finally {
      counts.ended++;
      resolve();
    }
  }

  /** Like a device, it notices an abort only between steps, but here nothing else would wake it. */
  async function waitForStep(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.push(resolve);
    if (!isDeaf) signal?.addEventListener("abort", () => resolve());
    await promise;
  }

  return {
    model,
    device: "Synthetic CPU",
    sizes: { native: size, multiple: 16 },
    defaults: { steps: 20, guidance: 3.5 },
    deviceBytes: 123,
    counts,
    generate: run,
    close: async () => {},
    hold({ deaf } = { deaf: false }) {
      held = true;
      isDeaf = deaf;
    },
    async step() {
      const late = performance.now() + 30_000;
      while (waiting.length === 0) {
        if (performance.now() > late) throw new Error("No run waits for a step.");
        await Bun.sleep(2);
      }
      waiting.shift()?.();
    },
    free() {
      held = false;
      for (const wake of waiting) wake();
      waiting = [];
    },
    failNext(error) {
      failure = error;
    },
  };
}

function withoutColumns<Cell extends { columnFrequency?: unknown }>(
  cell: Cell,
): Omit<Cell, "columnFrequency"> {
  const { columnFrequency: _, ...rest } = cell;
  return rest;
}

function gradient(width: number, height: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: width * height * 3 }, (_, at) => (at + seed * 31) % 256);
}

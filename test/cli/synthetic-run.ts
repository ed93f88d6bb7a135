import type { CellReport } from "../../src/delta/run.ts";
import { tileOrder } from "../../src/delta/token-order.ts";
import type { ResultEvent, StartEvent, StepEvent } from "../../src/pipeline/events.ts";

export interface SyntheticRun {
  readonly start: StartEvent;
  readonly steps: readonly StepEvent[];
  readonly result: ResultEvent;
}

/** A run as a model could tell it: a refresh every fourth step, a skipped one, deltas around a moving spot. */
export function syntheticRun({
  steps = 8,
  layers = 3,
  grid = [16, 16],
  textTokens = 64,
  neurons = 1536,
  prompt = "a red fox on a sky blue background",
  policy = "balanced",
}: {
  steps?: number;
  layers?: number;
  grid?: readonly [number, number];
  textTokens?: number;
  neurons?: number;
  prompt?: string;
  policy?: string;
} = {}): SyntheticRun {
  const [rows, columns] = grid;
  const [height, width] = [rows * 8, columns * 8];
  const imageTokens = rows * columns;
  const settings = { model: "acorn-image", prompt, width, height, steps, seed: 7, guidance: 3.5, policy };
  const { order: tokenOrder } = tileOrder(rows, columns);
  const start: StartEvent = {
    type: "start",
    settings,
    notes: [],
    device: "Synthetic CPU, 2 threads",
    imageTokens,
    textTokens,
    grid: [1, rows, columns],
    tokenOrder,
    encodeSeconds: 0.01,
  };
  const stepEvents = Array.from({ length: steps }, (_, step): StepEvent => {
    const skipped = step === steps - 2;
    const action = step === 0 ? "dense" : step % 4 === 1 ? "refresh" : "delta";
    const cells = Array.from({ length: layers }, (__, layer): CellReport[] => {
      if (action !== "delta")
        return (["attention", "mlp"] as const).map((module) => ({
          branch: 0,
          layer,
          module,
          action,
          density: 1,
        }));
      const attention = spot(step, steps, layer, grid, textTokens);
      const mlp = Float32Array.from({ length: neurons }, (___, at) => ((at * 7919 + layer * 131) % 97) / 97) //
        .map((value) => value ** 3);
      return [
        {
          branch: 0,
          layer,
          module: "attention",
          action,
          density: mean(attention),
          columnFrequency: attention,
        },
        { branch: 0, layer, module: "mlp", action, density: mean(mlp), columnFrequency: mlp },
      ];
    }).flat();
    const density = (module: CellReport["module"]) =>
      skipped ? 0 : mean(cells.filter((cell) => cell.module === module).map((cell) => cell.density));
    return {
      type: "step",
      step,
      steps,
      sigma: 1 - step / steps,
      seconds: skipped ? 0.01 : action === "delta" ? 0.4 : 1,
      action: skipped ? "skip" : "run",
      density: (density("attention") + density("mlp")) / 2,
      attentionDensity: density("attention"),
      mlpDensity: density("mlp"),
      cells: skipped ? [] : cells,
    };
  });
  const result: ResultEvent = {
    type: "result",
    settings,
    width,
    height,
    rgb: Uint8Array.from({ length: width * height * 3 }, (_, at) => (at % 3 === 2 ? 235 : 128 + (at % 64))),
    seconds: { encode: 0.01, denoise: 5, decode: 0.5, total: 5.51 },
    density: mean(stepEvents.map((step) => step.density)),
    attentionDensity: mean(stepEvents.map((step) => step.attentionDensity)),
    mlpDensity: mean(stepEvents.map((step) => step.mlpDensity)),
  };
  return { start, steps: stepEvents, result };
}

/** Key frequencies that peak at a spot of the picture, in token order; text keys are always chosen. */
function spot(
  step: number,
  steps: number,
  layer: number,
  [rows, columns]: readonly [number, number],
  text: number,
) {
  const { order } = tileOrder(rows, columns);
  const frequency = new Float32Array(text + rows * columns).fill(1);
  const share = text / frequency.length;
  order.forEach((raster, place) => {
    const y = Math.floor(raster / columns) / rows - (0.3 + 0.4 * (step / steps));
    const x = (raster % columns) / columns - (0.25 + 0.15 * (layer % 4));
    frequency[text + place] = share + (1 - share) * Math.exp(-(x * x + y * y) * 14) * 0.7;
  });
  return frequency;
}

function mean(values: ArrayLike<number> & Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return values.length === 0 ? 0 : sum / values.length;
}

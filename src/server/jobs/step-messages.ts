import { imageKeyShares } from "../../media/key-shares.ts";
import { stepWord } from "../../media/step-word.ts";
import type { StartEvent, StepEvent } from "../../pipeline/events.ts";
import type { MessageOf } from "./messages.ts";

/** Turns a run's events into messages; with columns, each step brings a map of the image keys it recomputed. */
export class StepMessages {
  readonly #withColumns: boolean;
  #start: StartEvent | undefined;

  constructor(withColumns: boolean) {
    this.#withColumns = withColumns;
  }

  start(event: StartEvent, job: string, queueSeconds: number): MessageOf<"start"> {
    this.#start = event;
    const { settings, notes, device, imageTokens, textTokens, grid, encodeSeconds } = event;
    return {
      type: "start",
      job,
      ...settings,
      device,
      image_tokens: imageTokens,
      text_tokens: textTokens,
      grid: [...grid],
      notes: [...notes],
      queue_seconds: queueSeconds,
      encode_seconds: encodeSeconds,
    };
  }

  step(event: StepEvent): [MessageOf<"step">, Uint8Array?] {
    const { step, steps, sigma, seconds, density, attentionDensity, mlpDensity } = event;
    const message: MessageOf<"step"> = {
      type: "step",
      step,
      steps,
      sigma,
      seconds,
      action: stepWord(event),
      density,
      attention_density: attentionDensity,
      mlp_density: mlpDensity,
    };
    if (!this.#withColumns || !this.#start) return [message];
    message.cells = event.cells.map(({ layer, module, action, density: cellDensity }) => ({
      layer,
      module,
      action,
      density: cellDensity,
    }));
    const map = keyMap(event, this.#start);
    if (!map) return [message];
    message.grid = [...this.#start.grid];
    return [message, map];
  }
}

/** [frames, rows, columns] of bytes: the mean share over the layers whose attention ran as a delta. */
function keyMap({ cells }: StepEvent, start: StartEvent): Uint8Array | undefined {
  const maps = cells.flatMap(({ module, columnFrequency }) =>
    module === "attention" && columnFrequency ? [imageKeyShares(columnFrequency, start)] : [],
  );
  if (maps.length === 0) return undefined;
  return Uint8Array.from({ length: start.imageTokens }, (_, at) => {
    const sum = maps.reduce((total, map) => total + (map[at] ?? 0), 0);
    return Math.round(255 * Math.min(1, sum / maps.length));
  });
}

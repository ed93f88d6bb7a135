import { psnr, ssim } from "../src/media/metrics.ts";
import type { ResultEvent } from "../src/pipeline/events.ts";
import type { Tamias } from "../src/pipeline/open.ts";
import type { GenerateOptions } from "../src/pipeline/options.ts";
import { mean, median, worst } from "./machine.ts";

/** One finished picture with its time. */
export interface Made {
  readonly result: ResultEvent;
  /** Wall seconds of the whole request: text, denoising, decoding. */
  readonly seconds: number;
  readonly stepSeconds: readonly number[];
}

export async function make(tamias: Tamias, options: GenerateOptions): Promise<Made> {
  const stepSeconds: number[] = [];
  for await (const event of tamias.generate(options)) {
    if (event.type === "step") stepSeconds.push(event.seconds);
    if (event.type === "result") return { result: event, seconds: event.seconds.total, stepSeconds };
  }
  throw new Error("The generation ended without a result.");
}

/** How near pictures come to their references, and at what cost. */
export class Comparison {
  readonly #psnr: number[] = [];
  readonly #ssim: number[] = [];
  readonly #speedup: number[] = [];
  readonly #seconds: number[] = [];
  readonly #density: { all: number[]; attention: number[]; mlp: number[] } = {
    all: [],
    attention: [],
    mlp: [],
  };

  add(made: Made, reference: Made): void {
    this.#psnr.push(Math.min(99, psnr(made.result, reference.result)));
    this.#ssim.push(ssim(made.result, reference.result));
    this.#speedup.push(reference.seconds / made.seconds);
    this.#seconds.push(made.seconds);
    this.#density.all.push(made.result.density);
    this.#density.attention.push(made.result.attentionDensity);
    this.#density.mlp.push(made.result.mlpDensity);
  }

  get psnr(): readonly number[] {
    return this.#psnr;
  }

  summary() {
    const round = (value: number, digits = 3) => Number(value.toFixed(digits));
    return {
      pictures: this.#psnr.length,
      psnrMean: round(mean(this.#psnr), 2),
      psnrWorst: round(worst(this.#psnr), 2),
      ssimMean: round(mean(this.#ssim), 4),
      ssimWorst: round(worst(this.#ssim), 4),
      speedupMedian: round(median(this.#speedup)),
      secondsMedian: round(median(this.#seconds)),
      density: round(mean(this.#density.all), 4),
      attentionDensity: round(mean(this.#density.attention), 4),
      mlpDensity: round(mean(this.#density.mlp), 4),
    };
  }
}

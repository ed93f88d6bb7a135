import type { Device } from "../../ffi/index.ts";
import type { Costs } from "../delta/cost-model.ts";
import type { DeltaNeeds, NeedsByPart } from "../delta/needs.ts";
import { placeOnDevice } from "../delta/placement.ts";
import type { Family, ModelFiles } from "../models/family.ts";
import { DryRun } from "../nn/index.ts";
import { generate } from "./generate.ts";
import type { Request } from "./request.ts";

/** Device memory that a run takes, in bytes: the most at any time of each of its phases, weights included. */
export interface Needs {
  readonly weights: number;
  readonly text: number;
  readonly denoising: number;
  readonly decoding: number;
  /** The largest of them. */
  readonly most: number;
  /** Of the weights, each part's. */
  readonly weightsByPart: Readonly<Record<string, number>>;
  /** Of denoising, what deltas keep from step to step. */
  readonly keptByPart: NeedsByPart;
}

/**
 * Says what runs of a model will need before they start, by a dry run of each: the same code on a device that computes
 * nothing and counts the memory it is asked for, so that it cannot disagree with the run.
 */
export class RunCounter implements Disposable {
  readonly family: Family;
  /** Bytes of the model's weights. */
  readonly weights: number;
  readonly #dry: DryRun;
  readonly #costs: Costs | undefined;
  readonly #opened: DisposableStack;

  /**
   * @param device what the model is to run on
   * @param costs as the runs will have them
   * @throws TamiasError as `ModelFiles.load` does
   */
  static async open(device: Device, files: ModelFiles, costs?: Costs): Promise<RunCounter> {
    using opened = new DisposableStack();
    const dry = opened.use(new DryRun(device));
    const family = opened.use(await files.load(dry.ops));
    dry.ops.memory.trim();
    return new RunCounter(dry, family, costs, opened.move());
  }

  private constructor(dry: DryRun, family: Family, costs: Costs | undefined, opened: DisposableStack) {
    this.#dry = dry;
    this.#costs = costs;
    this.family = family;
    this.weights = dry.bytes;
    this.#opened = opened;
  }

  /** Counts one run; takes some tens of milliseconds. */
  async needs(request: Request): Promise<Needs> {
    const { weights } = this;
    const { device } = this.#dry.memory;
    const phases = { text: weights, denoising: weights, decoding: weights };
    let phase: keyof typeof phases = "text";
    // Nothing is kept from runs counted before, such as their text states.
    this.#dry.ops.stream.device.spare();
    device.restart();
    let keptByPart: NeedsByPart | undefined;
    const place = (needs: DeltaNeeds) => {
      keptByPart = needs.parts;
      return (request.place ?? placeOnDevice)(needs);
    };
    const silent = { ...request, place, trace: false, signal: undefined };
    const engine = { family: this.family, ops: this.#dry.ops, costs: this.#costs };
    for await (const event of generate(engine, silent)) {
      phases[phase] = Math.max(phases[phase], device.mostBytes);
      device.restart();
      const isLastStep = event.type === "step" && event.step + 1 === event.steps;
      phase = isLastStep ? "decoding" : "denoising";
    }
    return {
      weights,
      ...phases,
      most: Math.max(...Object.values(phases)),
      weightsByPart: this.family.weightBytes,
      keptByPart: keptByPart!,
    };
  }

  [Symbol.dispose](): void {
    this.#opened[Symbol.dispose]();
  }
}

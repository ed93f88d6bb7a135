import { type Device, MemoryCount, type Stream } from "../../ffi/index.ts";
import type { Family, ModelFiles } from "../models/family.ts";
import { Ops } from "../nn/index.ts";
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
}

/**
 * Says what runs of a model will need before they start, by running them on a device that computes nothing and counts
 * the memory it is asked for. It is the same code, so it cannot disagree with the run.
 */
export class RunCounter implements Disposable {
  readonly family: Family;
  /** Bytes of the model's weights. */
  readonly weights: number;
  readonly #count: MemoryCount;
  readonly #ops: Ops;
  readonly #opened: DisposableStack;

  /**
   * @param device what the model is to run on
   * @throws TamiasError as `ModelFiles.load` does
   */
  static async open(device: Device, files: ModelFiles): Promise<RunCounter> {
    const count = new MemoryCount();
    using opened = new DisposableStack();
    const stream: Stream = opened.use(opened.use(device.counting(count)).createStream());
    const ops = opened.use(new Ops(stream));
    const family = opened.use(await files.load(ops));
    ops.memory.trim();
    return new RunCounter(count, ops, family, opened.move());
  }

  private constructor(count: MemoryCount, ops: Ops, family: Family, opened: DisposableStack) {
    this.#count = count;
    this.#ops = ops;
    this.family = family;
    this.weights = count.device.bytes;
    this.#opened = opened;
  }

  /** Counts one run; takes some tens of milliseconds. */
  async needs(request: Request): Promise<Needs> {
    const { weights } = this;
    const phases = { text: weights, denoising: weights, decoding: weights };
    let phase: keyof typeof phases = "text";
    this.#count.device.restart();
    const silent = { ...request, wantsPreview: () => false, trace: false, signal: undefined };
    for await (const event of generate({ family: this.family, ops: this.#ops }, silent)) {
      phases[phase] = Math.max(phases[phase], this.#count.device.mostBytes);
      this.#count.device.restart();
      const isLastStep = event.type === "step" && event.step + 1 === event.steps;
      phase = isLastStep ? "decoding" : "denoising";
    }
    return { weights, ...phases, most: Math.max(...Object.values(phases)) };
  }

  [Symbol.dispose](): void {
    this.#opened[Symbol.dispose]();
  }
}

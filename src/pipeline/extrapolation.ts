import type { DeviceTensor } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";

/** The last two velocities of one branch, and what a skipped step makes of them. */
export class VelocityExtrapolation implements Disposable {
  readonly #ops: Ops;
  readonly #forecast: number;
  #latest: Sample;
  #earlier: Sample;
  #count = 0;

  /** @param forecast 0 repeats the last velocity, 1 continues the line through the last two (in sigma) */
  constructor(ops: Ops, shape: readonly number[], forecast: number) {
    this.#ops = ops;
    this.#forecast = forecast;
    this.#latest = { velocity: ops.memory.persistent(shape, "f32"), sigma: 0 };
    this.#earlier = { velocity: ops.memory.persistent(shape, "f32"), sigma: 0 };
  }

  /** Remembers what the network said at `sigma`. */
  record(velocity: DeviceTensor, sigma: number): void {
    const { velocity: target } = this.#earlier;
    this.#earlier = this.#latest;
    this.#ops.copy(velocity, target);
    this.#latest = { velocity: target, sigma };
    this.#count++;
  }

  /** Writes the expected velocity at `sigma`; something must have been recorded. */
  extrapolate(sigma: number, out: DeviceTensor): void {
    const travelled = this.#latest.sigma - this.#earlier.sigma;
    const reach =
      this.#count < 2 || travelled === 0 ? 0 : (this.#forecast * (sigma - this.#latest.sigma)) / travelled;
    this.#ops.combine(1 + reach, this.#latest.velocity, -reach, this.#earlier.velocity, out);
  }

  [Symbol.dispose](): void {
    this.#latest.velocity[Symbol.dispose]();
    this.#earlier.velocity[Symbol.dispose]();
  }
}

interface Sample {
  readonly velocity: DeviceTensor;
  readonly sigma: number;
}

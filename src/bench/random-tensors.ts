import { type DeviceTensor, TamiasError } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";
import { gaussianNoise } from "../samplers/noise.ts";

/** A prime, so that no dimension of a tensor divides it: rows differ although the values repeat. */
const PERIOD = 1_048_573;

/**
 * Fills tensors of any size with random values at the speed of device memory: one block of noise, repeated. For timing;
 * the values are as random as the matrix units can tell.
 */
export class RandomTensors implements Disposable {
  readonly #ops: Ops;
  readonly #noise: DeviceTensor;

  constructor(ops: Ops, seed: number) {
    this.#ops = ops;
    this.#noise = ops.memory.persistent([PERIOD], "f32");
    ops.stream.write(this.#noise, gaussianNoise(PERIOD, seed));
  }

  /** Normal values with mean 0. */
  normal(out: DeviceTensor, deviation = 1): DeviceTensor {
    using block = this.#ops.memory.temporary([PERIOD], out.dtype);
    this.#ops.combine(deviation, this.#noise, 0, this.#noise, block);
    this.#repeat(block, out);
    return out;
  }

  /** Squares of normal values: scores as a softmax's column sums are, never negative and mostly small. */
  scores(out: DeviceTensor): DeviceTensor {
    using block = this.#ops.memory.temporary([PERIOD], "f32");
    this.#ops.multiply(this.#noise, this.#noise, block);
    this.#repeat(block, out);
    return out;
  }

  [Symbol.dispose](): void {
    this.#noise[Symbol.dispose]();
  }

  #repeat(block: DeviceTensor, out: DeviceTensor): void {
    if (!out.isContiguous) throw new TamiasError("internal", "Only contiguous tensors are filled.");
    const flat = out.reshape(out.elements);
    const whole = Math.floor(out.elements / PERIOD);
    if (whole > 0)
      this.#ops.copy(
        block.reshape(1, PERIOD).expand(whole, PERIOD),
        flat.slice(0, 0, whole * PERIOD).reshape(whole, PERIOD),
      );
    const rest = out.elements - whole * PERIOD;
    if (rest > 0) this.#ops.copy(block.slice(0, 0, rest), flat.slice(0, whole * PERIOD, out.elements));
  }
}

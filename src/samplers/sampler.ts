import type { DeviceTensor } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";

/** The noise levels of one run. */
export interface Schedule {
  /** steps + 1 values from 1 down to 0, as float32. */
  readonly sigmas: Float32Array;
  /** What the network is told of each step, as float32. */
  readonly timesteps: Float32Array;
}

/** A way from noise to a picture along predicted velocities; one serves many runs. */
export interface Sampler {
  /**
   * @param tokens latent tokens of the run: schedules may depend on their number
   * @throws TamiasError `bad_input` for a number of steps it cannot do
   */
  schedule(steps: number, tokens: number): Schedule;
  /** Begins a run. @param shape of its latents */
  begin(ops: Ops, schedule: Schedule, shape: readonly number[]): SamplerRun;
}

/** A sampler in one run, with what it remembers of earlier steps. Latents and velocities are F32. */
export interface SamplerRun extends Disposable {
  /** Writes the finished latents (x0) that are expected at this step. */
  estimate(step: number, latents: DeviceTensor, velocity: DeviceTensor, out: DeviceTensor): void;
  /** Moves the latents, in place, from the noise level of `step` to the next. */
  step(step: number, latents: DeviceTensor, velocity: DeviceTensor): void;
}

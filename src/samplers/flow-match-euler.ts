import { join } from "node:path";
import { z } from "zod";
import { TamiasError } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";
import { parseWith, readJsonObject } from "../weights/json-file.ts";
import type { Sampler, SamplerRun, Schedule } from "./sampler.ts";

const off = z.literal(false).default(false);

const configSchema = z.looseObject({
  _class_name: z.literal("FlowMatchEulerDiscreteScheduler"),
  num_train_timesteps: z.int().positive().default(1000),
  shift: z.number().positive().default(1),
  use_dynamic_shifting: z.boolean().default(false),
  time_shift_type: z.literal("exponential").default("exponential"),
  base_shift: z.number().default(0.5),
  max_shift: z.number().default(1.15),
  base_image_seq_len: z.number().positive().default(256),
  max_image_seq_len: z.number().positive().default(4096),
  invert_sigmas: off,
  stochastic_sampling: off,
  use_beta_sigmas: off,
  use_exponential_sigmas: off,
  use_karras_sigmas: off,
  shift_terminal: z.null().optional(),
});

/**
 * Noise levels of rectified flow with Euler steps, as FLUX uses them: equal steps from 1 to 1/steps, shifted towards
 * noise, the more so the larger the picture (Esser et al. 2024, arXiv 2403.03206, section 5.3.2).
 */
export class FlowMatchEuler implements Sampler {
  readonly #config: z.output<typeof configSchema>;

  constructor(config: unknown, where = "the scheduler's configuration") {
    this.#config = parseWith(configSchema, config, where);
  }

  /** Reads `scheduler_config.json` of a scheduler folder. */
  static async open(folder: string): Promise<FlowMatchEuler> {
    const path = join(folder, "scheduler_config.json");
    return new FlowMatchEuler(await readJsonObject(path), path);
  }

  /** Timesteps are sigma * 1000. @param imageTokens decides the shift where the configuration asks for a dynamic one */
  schedule(steps: number, imageTokens: number): Schedule {
    if (!Number.isInteger(steps) || steps < 1 || steps > 1000)
      throw new TamiasError("bad_input", `steps: must be a whole number from 1 to 1000, got ${steps}.`);
    const { num_train_timesteps: scale } = this.#config;
    const sigmas = new Float32Array(steps + 1);
    for (let step = 0; step < steps; step++)
      sigmas[step] = this.#shifted(1 - (step / Math.max(1, steps - 1)) * (1 - 1 / steps), imageTokens);
    return { sigmas, timesteps: sigmas.subarray(0, steps).map((sigma) => sigma * scale) };
  }

  begin(ops: Ops, { sigmas }: Schedule): SamplerRun {
    return {
      estimate: (step, latents, velocity, out) => ops.combine(1, latents, -sigmas[step]!, velocity, out),
      step: (step, latents, velocity) =>
        ops.combine(1, latents, sigmas[step + 1]! - sigmas[step]!, velocity, latents),
      [Symbol.dispose]() {},
    };
  }

  #shifted(sigma: number, imageTokens: number): number {
    const { shift, use_dynamic_shifting: isDynamic } = this.#config;
    // With mu the line through (base_image_seq_len, base_shift) and (max_image_seq_len, max_shift).
    const strength = isDynamic ? Math.exp(this.#mu(imageTokens)) : shift;
    return (strength * sigma) / (1 + (strength - 1) * sigma);
  }

  #mu(imageTokens: number): number {
    const { base_shift, max_shift, base_image_seq_len, max_image_seq_len } = this.#config;
    const slope = (max_shift - base_shift) / (max_image_seq_len - base_image_seq_len);
    return base_shift + slope * (imageTokens - base_image_seq_len);
  }
}

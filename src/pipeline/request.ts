import { TamiasError } from "../../ffi/errors.ts";
import type { Placement } from "../delta/cache-place.ts";
import type { DeltaNeeds } from "../delta/needs.ts";
import type { Policy } from "../delta/policy.ts";
import { findPolicy } from "../delta/policies/index.ts";
import type { Family } from "../models/family.ts";
import type { Settings } from "./events.ts";
import { checkOptions, type GenerateOptions } from "./options.ts";

/** A request whose every value is settled. */
export interface Request {
  readonly settings: Settings;
  /** What was asked for and is not used, a sentence each. */
  readonly notes: readonly string[];
  readonly policy: Policy;
  /** Whether a preview is to follow a step (0-based); the last step has the result instead. */
  wantsPreview(step: number): boolean;
  readonly recordColumns: boolean;
  readonly trace: boolean;
  readonly signal: AbortSignal | undefined;
  /** Bytes of the device that the run and its model may take; absent: what it likes. */
  readonly room?: number | undefined;
  /** Where what the run keeps is to lie; absent: on the device. */
  readonly place?: ((needs: DeltaNeeds) => Placement) | undefined;
}

/**
 * Settles what a request leaves open by what the model asks for.
 * @throws TamiasError `bad_input` or `not_found` naming the option
 */
export function settleRequest(
  model: string,
  { sizes, defaults }: Pick<Family, "sizes" | "defaults">,
  options: GenerateOptions,
): Request {
  const { prompt, previewEvery, previewSteps, recordColumns, trace, signal, ...asked } =
    checkOptions(options);
  const policy = findPolicy(asked.policy);
  const notes: string[] = [];
  if (asked.guidance !== undefined && defaults.guidance === null)
    notes.push(`guidance ${asked.guidance} is not used: ${model} was distilled without guidance.`);
  const settings: Settings = {
    model,
    prompt,
    width: asked.width ?? asked.height ?? sizes.native,
    height: asked.height ?? asked.width ?? sizes.native,
    steps: asked.steps ?? defaults.steps,
    seed: asked.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!,
    guidance: defaults.guidance === null ? null : (asked.guidance ?? defaults.guidance),
    policy: policy.name,
  };
  checkSize("width", settings.width, sizes.multiple);
  checkSize("height", settings.height, sizes.multiple);
  const wantsPreview = (step: number) =>
    (previewEvery > 0 && (step + 1) % previewEvery === 0) || previewSteps.includes(step);
  return { settings, notes, policy, wantsPreview, recordColumns, trace, signal };
}

function checkSize(side: "width" | "height", pixels: number, multiple: number): void {
  if (pixels % multiple === 0) return;
  const below = Math.max(multiple, pixels - (pixels % multiple));
  throw new TamiasError("bad_input", `${side}: ${pixels} is not a multiple of ${multiple}.`, {
    hint: `The nearest sizes are ${below} and ${below + multiple}.`,
  });
}

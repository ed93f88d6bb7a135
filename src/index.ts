/**
 * Tamias: diffusion transformers on Bun, made fast by recomputing only the columns that moved.
 *
 * ```ts
 * import { open } from "tamias";
 * await using tamias = await open({ model: "acorn-image" });
 * for await (const event of tamias.generate({ prompt: "a red fox", seed: 7 })) { … }
 * ```
 */
export { TamiasError, type TamiasErrorCode } from "../ffi/errors.ts";
export type { ColumnPolicySettings } from "./delta/column-policy.ts";
export type { Policy } from "./delta/policy.ts";
export { policies } from "./delta/policies/index.ts";
export { psnr, ssim } from "./media/metrics.ts";
export { encodePng } from "./media/png.ts";
export type {
  GenerateEvent,
  Picture,
  PreviewEvent,
  ResultEvent,
  Settings,
  StartEvent,
  StepEvent,
  TraceEvent,
} from "./pipeline/events.ts";
export { listModels, type ModelEntry } from "./pipeline/models.ts";
export { open, type OpenOptions, type Tamias } from "./pipeline/open.ts";
export type { GenerateOptions } from "./pipeline/options.ts";

import type { DeviceTensor } from "../../ffi/index.ts";
import type { ModuleDescription } from "../delta/cells.ts";
import type { Modules } from "../delta/modules.ts";
import type { TextShape } from "../delta/text-tokens.ts";
import type { TokenOrder } from "../delta/token-order.ts";
import type { Ops } from "../nn/index.ts";
import type { Sampler } from "../samplers/sampler.ts";
import type { GoldenPart } from "./golden-part.ts";
import type { Golden, GoldenTensor } from "./shared/golden.ts";

/** A kind of pipeline this build can run: what there is to know of it before a model of it is loaded. */
export interface FamilyKind {
  /** Class of the pipeline in `model_index.json`. */
  readonly pipeline: string;
  /** For people. */
  readonly title: string;
  /**
   * Reads configurations, headers and tokenizers of a folder in diffusers format, no weights.
   * @param parts without `text`, tokenizers and text encoders stay behind: text states are given, prompts refused
   * @throws TamiasError `not_found`, `bad_weights` or `unsupported`
   */
  open(folder: string, parts?: { readonly text: boolean }): Promise<ModelFiles>;
  /** Its parts and the reference tensors each is run on, in the order data flows. */
  readonly goldenParts: readonly GoldenPart[];
}

/** A model whose files have been looked at. */
export interface ModelFiles {
  /**
   * Loads the weights onto the device of `ops`, which stay the caller's.
   * @throws TamiasError `bad_weights`, `out_of_memory` …
   */
  load(ops: Ops): Promise<Family>;
}

/** Frames, rows and columns of latent tokens. */
export type Grid = readonly [frames: number, rows: number, columns: number];

/** What is asked for, in pixels. */
export interface Extent {
  readonly width: number;
  readonly height: number;
  readonly frames: number;
}

/** What a model asks of a picture's width and height, in pixels. */
export interface PictureSizes {
  /** The side it was made for. */
  readonly native: number;
  /** Each side must be a multiple of this. */
  readonly multiple: number;
}

/** What a request is given where it does not say. */
export interface RequestDefaults {
  readonly steps: number;
  /** null: the model takes no guidance. */
  readonly guidance: number | null;
}

/**
 * An opened model. Families differ in data and arithmetic, not in control flow: `pipeline/denoise.ts` is the only loop,
 * and calls what is described here. Tokens are [batch, tokens, tokenChannels], F32, in raster order of the grid.
 */
export interface Family extends Disposable {
  readonly sizes: PictureSizes;
  readonly defaults: RequestDefaults;
  /** Bytes of device memory that each part's weights take, by the part's folder. */
  readonly weightBytes: Readonly<Record<string, number>>;
  readonly sampler: Sampler;
  readonly tokenChannels: number;

  grid(extent: Extent): Grid;
  /** Every module of the network that a policy may address, in the order they run, with the sizes it has in one run. */
  modules(tokens: { readonly latent: number; readonly text: number }): readonly ModuleDescription[];
  /** Shape of the latents of a grid; noise is drawn in it. */
  latentShape(grid: Grid): readonly number[];
  /** Latents [1, …] to tokens. */
  pack(latents: DeviceTensor, tokens: DeviceTensor): void;
  /** The inverse of `pack`. */
  unpack(tokens: DeviceTensor, latents: DeviceTensor): void;

  /** Queues the encoding of a request's texts, and all else that stays the same for its steps. */
  condition(request: TextRequest, layout: TokenLayout): Conditioning;
  /**
   * Finished latents to pictures in [-1, 1].
   * @param options `maxBytes`: what decoding may take of the device; within less than the whole needs it goes in parts
   * @returns F32 [batch, 3, height, width], or [batch, 3, frames, height, width] of clips; owned by the caller
   * @throws TamiasError `out_of_memory` before any work when `maxBytes` is too little for any way
   */
  decode(latents: DeviceTensor, options?: { readonly maxBytes?: number | undefined }): DeviceTensor;

  /** The reference run of a golden file, for the one loop to repeat. */
  goldenRun(golden: Golden): Promise<GoldenRun>;
}

export interface TextRequest {
  readonly prompt: string;
  /** null where the model takes none. */
  readonly guidance: number | null;
}

/** Where a run's latent tokens stand. */
export interface TokenLayout {
  readonly grid: Grid;
  /** The order in which the network sees the grid's tokens. */
  readonly order: TokenOrder;
}

/** What a run's network is told besides its latents. */
export interface Conditioning extends Disposable {
  /** Evaluations that make one step, one velocity each. */
  readonly branches: readonly Branch[];
  readonly text: TextShape;
  /**
   * The velocity of a step from those of its branches; with one branch it is not called.
   * @param velocities one a branch, F32
   * @param out may be one of them
   */
  combine(velocities: readonly DeviceTensor[], out: DeviceTensor): void;
}

/** One evaluation of the network, with text states of its own. */
export interface Branch {
  readonly name: "conditional" | "unconditional";
  /**
   * @param latents F32 [batch, tokens, tokenChannels], in the layout's order
   * @param at the step's noise level, and what the sampler's schedule says the network is told of it
   * @param velocity F32, like `latents`; written
   */
  forward(
    latents: DeviceTensor,
    at: { readonly sigma: number; readonly timestep: number },
    modules: Modules,
    velocity: DeviceTensor,
  ): void;
}

/** A reference run from given noise and text states: what goes in, and what came out. */
export interface GoldenRun {
  readonly grid: Grid;
  /** Conditioning from the given text states instead of a prompt. */
  condition(layout: TokenLayout): Conditioning;
  readonly sigmas: GoldenTensor;
  readonly timesteps: GoldenTensor;
  /** Tokens or latents at the start. */
  readonly start: GoldenTensor;
  /** The same after every step, [steps, …]. */
  readonly bySteps: GoldenTensor;
  /** Whether those are tokens, in raster order, rather than latents. */
  readonly arePacked: boolean;
  /** Finished pictures in [0, 1]: [batch, 3, height, width], or [batch, frames, 3, height, width]. */
  readonly pictures: GoldenTensor;
}

import type { Span } from "../../ffi/index.ts";
import type { CellReport, TransferReport } from "../delta/run.ts";
import type { StepAction } from "../delta/policy.ts";
import type { Grid } from "../models/family.ts";

/** A finished or estimated picture: RGB, 8 bits each, row by row from the top left. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] */
  readonly rgb: Uint8Array;
}

/** Everything that fixes a picture on one backend: the same settings give the same bytes. */
export interface Settings {
  readonly model: string;
  readonly prompt: string;
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly seed: number;
  /** null: the model takes none. */
  readonly guidance: number | null;
  readonly policy: string;
}

export interface StartEvent {
  readonly type: "start";
  readonly settings: Settings;
  /** What was asked for and is not used, a sentence each. */
  readonly notes: readonly string[];
  readonly device: string;
  /** Tokens of the picture and of the text that the transformer works on. */
  readonly imageTokens: number;
  readonly textTokens: number;
  readonly grid: Grid;
  /** The order of the grid's tokens in attention: `tokenOrder[i]` is the raster index of the image token in place i. */
  readonly tokenOrder: Int32Array;
  /** Seconds spent encoding the prompt. */
  readonly encodeSeconds: number;
}

export interface StepEvent {
  readonly type: "step";
  /** 0-based. */
  readonly step: number;
  readonly steps: number;
  readonly sigma: number;
  /** Wall time of this step. */
  readonly seconds: number;
  readonly action: StepAction;
  /** Share of the attention and MLP multiplications that were done; 0 for a skipped step. */
  readonly density: number;
  readonly attentionDensity: number;
  readonly mlpDensity: number;
  /** What each layer's modules did; with `recordColumns`, which columns they recomputed. */
  readonly cells: readonly CellReport[];
  /** Cells that had to wait for their mask; with `pipeline: "overlap"`. */
  readonly lateMasks?: number;
  /** What moving caches between host and device took; where memory is short. */
  readonly transfers?: TransferReport;
}

/** What ran when while denoising; with `trace`. */
export interface TraceEvent {
  readonly type: "trace";
  /** Where the spans' device times count from, in milliseconds since 1970. */
  readonly origin: number;
  readonly compute: readonly Span[];
  /** The mask stream's; empty with `pipeline: "serial"`. */
  readonly masks: readonly Span[];
}

/** An estimate of the final picture (x0), never raw noise. */
export interface PreviewEvent extends Picture {
  readonly type: "preview";
  readonly step: number;
}

export interface ResultEvent extends Picture {
  readonly type: "result";
  readonly settings: Settings;
  readonly seconds: {
    readonly encode: number;
    readonly denoise: number;
    readonly decode: number;
    readonly total: number;
  };
  /** Means over all steps. */
  readonly density: number;
  readonly attentionDensity: number;
  readonly mlpDensity: number;
}

export type GenerateEvent = StartEvent | StepEvent | PreviewEvent | TraceEvent | ResultEvent;

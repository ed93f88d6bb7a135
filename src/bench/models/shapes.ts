import { TamiasError } from "../../../ffi/index.ts";
import type { ColumnPolicySettings } from "../../delta/column-policy.ts";

/** A network of FLUX's double- and single-stream blocks at full shape. */
export interface FluxShaped {
  readonly kind: "flux-shaped";
  readonly title: string;
  readonly doubleBlocks: number;
  readonly singleBlocks: number;
  readonly textTokens: number;
  readonly imageTokens: number;
  readonly inChannels: number;
  readonly heads: number;
  readonly headDim: number;
  /** Whether all blocks fit at once with MLP caches; otherwise one of each kind is timed, times their number. */
  readonly fits: boolean;
  /** Share of the keys that a delta of a whole run computes. */
  readonly keyDensity: number;
  readonly policy: ColumnPolicySettings | string;
}

/** Wan's blocks at full shape: self-attention, cross-attention to text, MLP. */
export interface WanShaped {
  readonly kind: "wan-shaped";
  readonly title: string;
  readonly blocks: number;
  readonly textTokens: number;
  readonly videoTokens: number;
  readonly heads: number;
  readonly headDim: number;
  readonly hidden: number;
  readonly policy: ColumnPolicySettings;
}

/** Columns of every layer, refreshed once and then kept: what one sparse step costs. */
function columns(keys: number, neurons: number): ColumnPolicySettings {
  return {
    attention: {
      select: { kind: "topK", density: keys },
      textKeys: "scored",
      cache: { rule: "control", beta: 1 },
      forecast: 0,
      refresh: { from: 0, every: 1000 },
    },
    mlp: { select: { kind: "topK", density: neurons }, refresh: { from: 0, every: 1000 } },
  };
}

export const modelShapes: Readonly<Record<string, FluxShaped | WanShaped>> = {
  "flux-dev": {
    kind: "flux-shaped",
    title: "FLUX.1-dev, 1024 x 1024",
    doubleBlocks: 19,
    singleBlocks: 38,
    textTokens: 512,
    imageTokens: 4096,
    inChannels: 64,
    heads: 24,
    headDim: 128,
    fits: true,
    keyDensity: 0.165,
    policy: "chipmunk",
  },
  "hunyuan-video": {
    kind: "flux-shaped",
    title: "HunyuanVideo, 720p, 129 frames",
    doubleBlocks: 20,
    singleBlocks: 40,
    textTokens: 256,
    imageTokens: 118_800,
    inChannels: 64,
    heads: 24,
    headDim: 128,
    fits: false,
    keyDensity: 0.07,
    policy: columns(0.07, 0.3),
  },
  "wan-14b": {
    kind: "wan-shaped",
    title: "Wan2.1-14B, 720p, 81 frames, one branch",
    blocks: 40,
    textTokens: 512,
    videoTokens: 75_600,
    heads: 40,
    headDim: 128,
    hidden: 13_824,
    policy: columns(0.07, 0.3),
  },
  "wan-1.3b": {
    kind: "wan-shaped",
    title: "Wan2.1-1.3B, 480p, 81 frames, one branch",
    blocks: 30,
    textTokens: 512,
    videoTokens: 32_760,
    heads: 12,
    headDim: 128,
    hidden: 8960,
    policy: columns(0.07, 0.3),
  },
  /** The embedded model's sizes, for a laptop. */
  "acorn-image": {
    kind: "flux-shaped",
    title: "acorn-image, 512 x 512",
    doubleBlocks: 2,
    singleBlocks: 6,
    textTokens: 128,
    imageTokens: 4096,
    inChannels: 32,
    heads: 3,
    headDim: 128,
    fits: true,
    keyDensity: 0.15,
    policy: columns(0.15, 0.3),
  },
};

/** The same kind of network with other sizes; double-stream blocks keep their share of the layers. */
export function resized(
  shape: FluxShaped,
  { layers, tokens }: { layers?: number | undefined; tokens?: number | undefined },
): FluxShaped {
  const { doubleBlocks, singleBlocks, textTokens } = shape;
  const all = layers ?? doubleBlocks + singleBlocks;
  const double = Math.min(all, Math.round((all * doubleBlocks) / (doubleBlocks + singleBlocks)));
  const imageTokens = tokens === undefined ? shape.imageTokens : tokens - textTokens;
  if (all < 1 || imageTokens < 1)
    throw new TamiasError(
      "bad_input",
      `A network needs a layer, and more than its ${textTokens} text tokens.`,
    );
  return { ...shape, doubleBlocks: double, singleBlocks: all - double, imageTokens };
}

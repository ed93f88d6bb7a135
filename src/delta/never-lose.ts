import type { Backend } from "../../ffi/index.ts";

/**
 * Predicted cost of a column-sparse module as a share of the dense one. The constants are fits to measurements
 * (`docs/deltas.md`, "Never lose"); they need only be right about which side of 1 they fall.
 */
interface Costs {
  /** Time a chosen column costs, relative to a column of the dense product. */
  readonly gather: number;
  /** Choosing neurons, as a share of the dense MLP: the first layer on group means, scores and selection. */
  readonly neuronSelection: number;
  /** Time the extra launches of a delta take, in operations of the dense product. */
  readonly attentionLaunches: number;
  readonly mlpLaunches: number;
}

const costs: Record<Backend, Costs> = {
  cpu: { gather: 1.25, neuronSelection: 0.06, attentionLaunches: 0, mlpLaunches: 0 },
  // 15 and 60 microseconds of launches at 600 TFLOP/s: short sequences run dense.
  cuda: { gather: 1.5, neuronSelection: 0.01, attentionLaunches: 9e9, mlpLaunches: 36e9 },
};

/** What a module costs dense, and the share of it that a delta computes. */
export interface DeltaOffer {
  readonly backend: Backend;
  /** Operations of the dense module. */
  readonly operations: number;
  /** Share of its columns, dense groups included. */
  readonly density: number;
}

export function attentionDeltaPays({ backend, operations, density }: DeltaOffer): boolean {
  const { gather, attentionLaunches } = costs[backend];
  return density * gather + attentionLaunches / operations < 1;
}

/** @param group tokens that share a mask @param tokens all tokens */
export function mlpDeltaPays(
  { backend, operations, density }: DeltaOffer,
  group: number,
  tokens: number,
): boolean {
  const { gather, neuronSelection, mlpLaunches } = costs[backend];
  const scoring = 0.5 / Math.min(group, Math.max(1, tokens));
  return density * gather + neuronSelection + scoring + mlpLaunches / operations < 1;
}

/**
 * Predicted cost of a column-sparse module as a share of the dense one. The constants are fits to measurements of the
 * CPU backend (`docs/deltas.md`, "Never lose"); they need only be right about which side of 1 they fall.
 */

/** Time a chosen column costs, relative to a column of the dense product. */
const GATHER_PENALTY = 1.25;
/** Choosing neurons: the first layer on group means, scores and selection. */
const NEURON_SELECTION = 0.06;

/** @param density share of query x key pairs, dense groups included */
export function attentionDeltaPays(density: number): boolean {
  return density * GATHER_PENALTY < 1;
}

/** @param density share of neurons @param group tokens that share a mask @param tokens all tokens */
export function mlpDeltaPays(density: number, group: number, tokens: number): boolean {
  const scoring = 0.5 / Math.min(group, Math.max(1, tokens));
  return density * GATHER_PENALTY + NEURON_SELECTION + scoring < 1;
}

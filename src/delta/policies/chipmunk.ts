import type { Policy } from "../policy.ts";
import { columnPolicy } from "../column-policy.ts";

/**
 * The settings Chipmunk published for FLUX.1-dev (arXiv 2506.03275): 16.5 % of keys and 30 % + 5 % of neurons, a
 * difference cache, dense every ten steps, the first two layers dense. Masks are chosen anew at every refresh, which is
 * what the published scores were measured with.
 */
export const chipmunk: Policy = columnPolicy({
  name: "chipmunk",
  description: "the settings published for FLUX: 16.5 % of keys, 35 % of neurons, dense every 10 steps",
  denseLayers: 2,
  attention: {
    select: { kind: "topK", density: 0.165 },
    textKeys: "scored",
    cache: { rule: "control", beta: 1 },
    forecast: 0,
    refresh: { from: 1, every: 10 },
  },
  mlp: {
    select: { kind: "topK", density: 0.35 },
    randomDensity: 0.05,
    refresh: { from: 0, every: 10 },
  },
});

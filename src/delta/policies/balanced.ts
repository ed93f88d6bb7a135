import type { Policy } from "../policy.ts";
import { columnPolicy } from "../column-policy.ts";

/**
 * Hard to tell from exact, at well under its cost: columns, and every second step on the line of the last two. The
 * measurements behind it are in `docs/deltas.md`, "Measured".
 */
export const balanced: Policy = columnPolicy({
  name: "balanced",
  description: "hard to tell from exact, much faster",
  attention: {
    select: { kind: "topK", density: 0.15 },
    refresh: { from: 1, every: 4 },
  },
  mlp: {
    select: { kind: "topK", density: 0.3 },
    refresh: { from: 1, every: 4 },
  },
  skip: { from: 3, until: 1, every: 2, forecast: 1 },
});

import type { Policy } from "../policy.ts";
import { columnPolicy } from "../column-policy.ts";

/** For drafts: fewer columns and rarer refreshes than `balanced`. */
export const fast: Policy = columnPolicy({
  name: "fast",
  description: "for drafts: fewer columns and rarer refreshes than balanced",
  attention: {
    select: { kind: "topK", density: 0.1 },
    refresh: { from: 1, every: 6 },
  },
  mlp: {
    select: { kind: "topK", density: 0.2 },
    refresh: { from: 1, every: 6 },
  },
  skip: { from: 3, until: 1, every: 2, forecast: 1 },
});

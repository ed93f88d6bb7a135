import { Values } from "../support.ts";
import type { PartialSoftmax } from "./attention.ts";

/** The cache rules in the ABI's order: a rule's index is its code. */
export const cacheRules = ["none", "control", "lse"] as const;
export type CacheRule = (typeof cacheRules)[number];

/** What a refresh remembers of the keys that were not chosen. */
export function buildCache(
  rule: CacheRule,
  beta: number,
  dense: PartialSoftmax,
  chosen: PartialSoftmax,
): PartialSoftmax {
  if (rule === "control")
    return {
      out: dense.out.map((o, at) => o - beta * (chosen.out.data[at] ?? NaN)),
      lse: dense.lse,
    };
  const width = dense.out.size(-1);
  const weight = dense.lse.map((lse, row) => Math.exp((chosen.lse.data[row] ?? NaN) - lse));
  const isEmpty = (row: number) => Math.fround(weight.data[row] ?? NaN) >= 1;
  return {
    out: dense.out.map((o, at) => {
      const row = Math.floor(at / width);
      const w = weight.data[row] ?? NaN;
      return isEmpty(row) ? 0 : (o - w * (chosen.out.data[at] ?? NaN)) / (1 - w);
    }),
    lse: dense.lse.map((lse, row) =>
      isEmpty(row) ? -Infinity : lse + Math.log1p(-(weight.data[row] ?? NaN)),
    ),
  };
}

/** The result of a sparse step: attention over the chosen keys, merged with the cache. */
export function mergeCache(
  rule: CacheRule,
  beta: number,
  chosen: PartialSoftmax,
  cache: PartialSoftmax,
): PartialSoftmax {
  if (rule === "none") return chosen;
  if (rule === "control")
    return {
      out: chosen.out.map((o, at) => (cache.out.data[at] ?? NaN) + beta * o),
      lse: chosen.lse,
    };
  const width = chosen.out.size(-1);
  const lse = chosen.lse.map((a, row) => logAdd(a, cache.lse.data[row] ?? NaN));
  const share = (part: Values, row: number) =>
    part.data[row] === -Infinity ? 0 : Math.exp((part.data[row] ?? NaN) - (lse.data[row] ?? NaN));
  return {
    out: chosen.out.map((o, at) => {
      const row = Math.floor(at / width);
      return share(chosen.lse, row) * o + share(cache.lse, row) * (cache.out.data[at] ?? NaN);
    }),
    lse,
  };
}

function logAdd(a: number, b: number): number {
  const largest = Math.max(a, b);
  return largest === -Infinity
    ? -Infinity
    : largest + Math.log(Math.exp(a - largest) + Math.exp(b - largest));
}

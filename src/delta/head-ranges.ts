import { TamiasError } from "../../ffi/errors.ts";
import type { AttentionDescription } from "./cells.ts";
import type { AttentionSettings } from "./policy.ts";

/** Neighbouring heads from..to-1 with the same settings. */
export interface HeadSettings {
  readonly from: number;
  readonly to: number;
  readonly select: AttentionSettings["select"];
  readonly cache: AttentionSettings["cache"];
}

/**
 * Cuts a layer's heads into ranges of one setting each, in order; without ranges of their own, all heads are one.
 * @throws TamiasError `bad_input` when ranges overlap or name heads that are not there
 */
export function headSettings(
  { heads, select, cache }: AttentionSettings,
  { layer, heads: count }: AttentionDescription,
): readonly HeadSettings[] {
  const ranges: HeadSettings[] = [];
  let next = 0;
  for (const own of heads.toSorted((a, b) => a.from - b.from)) {
    if (own.from < next || own.to <= own.from || own.to > count)
      throw new TamiasError(
        "bad_input",
        `The policy's heads ${own.from} to ${own.to - 1} overlap others or are not among the ${count} of layer ${layer}.`,
      );
    if (own.from > next) ranges.push({ from: next, to: own.from, select, cache });
    ranges.push({ from: own.from, to: own.to, select: own.select ?? select, cache: own.cache ?? cache });
    next = own.to;
  }
  if (next < count) ranges.push({ from: next, to: count, select, cache });
  return ranges;
}

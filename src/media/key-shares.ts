import { tileOrder } from "../delta/token-order.ts";
import type { StartEvent } from "../pipeline/events.ts";

/**
 * How many of the rows recomputed each image key, 0..1, at the keys' places in the picture. Text queries choose every
 * key, so they are left out of the share.
 * @param frequency a cell's `columnFrequency`
 * @returns [rows, columns] of the start event's grid
 */
export function imageKeyShares(
  frequency: Float32Array,
  { grid, textTokens, imageTokens }: Pick<StartEvent, "grid" | "textTokens" | "imageTokens">,
): Float32Array {
  const textShare = textTokens / (textTokens + imageTokens);
  const { inverse } = tileOrder(...grid);
  return Float32Array.from(inverse, (place) => {
    const share = frequency[textTokens + place] ?? 0;
    return Math.max(0, (share - textShare) / (1 - textShare));
  });
}

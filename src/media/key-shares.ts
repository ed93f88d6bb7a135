import type { StartEvent } from "../pipeline/events.ts";

/**
 * How many of the rows recomputed each image key, 0..1, at the keys' places in the picture. Text queries choose every
 * key, so they are left out of the share.
 * @param frequency a cell's `columnFrequency`
 * @returns [frames, rows, columns] of the start event's grid
 */
export function imageKeyShares(
  frequency: Float32Array,
  { tokenOrder, textTokens, imageTokens }: Pick<StartEvent, "tokenOrder" | "textTokens" | "imageTokens">,
): Float32Array {
  const textShare = textTokens / (textTokens + imageTokens);
  const shares = new Float32Array(imageTokens);
  tokenOrder.forEach((token, place) => {
    const share = frequency[textTokens + place] ?? 0;
    shares[token] = Math.max(0, (share - textShare) / (1 - textShare));
  });
  return shares;
}

/**
 * Marks a random share of columns, the same for the same key.
 * @param key numbers that name the draw (seed, step, layer …)
 * @returns U8 [columns], 1 where chosen
 */
export function randomColumns(columns: number, density: number, key: readonly number[]): Uint8Array {
  const marks = new Uint8Array(columns);
  if (density === 0) return marks;
  let state = 0;
  for (const part of key) state = scramble(scramble(state ^ part) ^ (part / 2 ** 32));
  const threshold = Math.round(density * 2 ** 32);
  for (let column = 0; column < columns; column++)
    if (scramble(state + Math.imul(column, GOLDEN_RATIO)) < threshold) marks[column] = 1;
  return marks;
}

/** 2^32 divided by the golden ratio: steps of it never fall close together. */
const GOLDEN_RATIO = 0x9e3779b9;

/** MurmurHash3's finaliser (Appleby 2011), enough to scatter columns: 0..2^32-1. */
function scramble(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/**
 * Marks a random share of columns, the same for the same key.
 * @param key numbers that name the draw (seed, step, layer …)
 * @returns U8 [columns], 1 where chosen
 */
export function randomColumns(columns: number, density: number, key: readonly number[]): Uint8Array {
  const marks = new Uint8Array(columns);
  if (density === 0) return marks;
  let state = key.reduce((mixed, part) => mix(mixed ^ BigInt(Math.trunc(part))), 0n);
  const threshold = BigInt(Math.round(density * 2 ** 32));
  for (let column = 0; column < columns; column++) {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    if (mix(state) >> 32n < threshold) marks[column] = 1;
  }
  return marks;
}

/** SplitMix64's finaliser (Steele, Lea, Flood 2014): enough to scatter columns. */
function mix(value: bigint): bigint {
  let mixed = BigInt.asUintN(64, value);
  mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n);
  mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn);
  return mixed ^ (mixed >> 31n);
}

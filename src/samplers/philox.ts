const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const;
const KEY_STEPS = [0x9e3779b9, 0xbb67ae85] as const;
const ROUNDS = 10;

/**
 * Philox4x32-10, a counter-based generator: four random words that depend on counter and key alone (Salmon et al. 2011,
 * "Parallel random numbers: as easy as 1, 2, 3").
 * @param counter 4 words, lowest first
 * @param key 2 words, lowest first
 * @param out 4 words, written; may be `counter`
 */
export function philox(counter: Uint32Array, key: Uint32Array, out: Uint32Array): void {
  // Indexed, because unpacking a typed array goes through an iterator and takes longer than all rounds.
  let c0 = counter[0] ?? 0;
  let c1 = counter[1] ?? 0;
  let c2 = counter[2] ?? 0;
  let c3 = counter[3] ?? 0;
  let k0 = key[0] ?? 0;
  let k1 = key[1] ?? 0;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = highProduct(MULTIPLIERS[0], c0);
    const high1 = highProduct(MULTIPLIERS[1], c2);
    const low0 = Math.imul(MULTIPLIERS[0], c0) >>> 0;
    const low1 = Math.imul(MULTIPLIERS[1], c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + KEY_STEPS[0]) >>> 0;
    k1 = (k1 + KEY_STEPS[1]) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** The upper 32 of the 64 bits of a product, from products of halves that doubles hold exactly. */
function highProduct(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const first = aHigh * bLow + ((aLow * bLow) >>> 16);
  const second = aLow * bHigh + (first & 0xffff);
  return aHigh * bHigh + (first >>> 16) + (second >>> 16);
}

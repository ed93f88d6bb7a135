/**
 * Standard normal noise that depends on nothing but the seed: Philox4x32-10 (Salmon et al. 2011) in counter mode and the
 * Box-Muller transform in double precision. The same seed gives the same bits on every machine.
 * @param seed whole number from 0 to 2^53 - 1
 */
export function gaussianNoise(count: number, seed: number): Float32Array {
  const noise = new Float32Array(count);
  const key: [number, number] = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
  for (let at = 0; at < count; at += 4) {
    const words = philox(Math.floor(at / 4), key);
    for (let pair = 0; pair < 2; pair++) {
      // In (0, 1], so that the logarithm is finite.
      const radius = Math.sqrt(-2 * Math.log((words[2 * pair]! + 1) / 2 ** 32));
      const angle = (2 * Math.PI * words[2 * pair + 1]!) / 2 ** 32;
      if (at + 2 * pair < count) noise[at + 2 * pair] = radius * Math.cos(angle);
      if (at + 2 * pair + 1 < count) noise[at + 2 * pair + 1] = radius * Math.sin(angle);
    }
  }
  return noise;
}

const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const;
const KEY_STEPS = [0x9e3779b9, 0xbb67ae85] as const;

/** Four random 32-bit words for one counter. */
function philox(counter: number, key: readonly [number, number]): [number, number, number, number] {
  let words: [number, number, number, number] = [counter >>> 0, Math.floor(counter / 2 ** 32), 0, 0];
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(MULTIPLIERS[0], words[0]);
    const [high1, low1] = multiply(MULTIPLIERS[1], words[2]);
    words = [(high1 ^ words[1] ^ k0) >>> 0, low1, (high0 ^ words[3] ^ k1) >>> 0, low0];
    k0 = (k0 + KEY_STEPS[0]) >>> 0;
    k1 = (k1 + KEY_STEPS[1]) >>> 0;
  }
  return words;
}

/** The high and low word of a product of two 32-bit words. */
function multiply(a: number, b: number): [number, number] {
  const product = BigInt(a) * BigInt(b);
  return [Number(product >> 32n), Number(product & 0xffffffffn)];
}

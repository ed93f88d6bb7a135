import { TamiasError } from "../../ffi/index.ts";
import { philox } from "./philox.ts";

/**
 * Standard normal noise that depends on nothing but the seed, and of which a longer run begins like a shorter one:
 * Philox4x32-10 counts up from 0 with the seed as its key, and the Box-Muller transform in double precision makes two
 * values of each two words. Random words are the same on every machine; rounding to float32 hides the last bits in
 * which the logarithm and cosine of two machines may differ.
 * @param seed whole number from 0 to 2^53 - 1
 * @throws TamiasError `bad_input` for another seed
 */
export function gaussianNoise(count: number, seed: number): Float32Array {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new TamiasError("bad_input", `seed: must be a whole number from 0 to 2^53 - 1, got ${seed}.`);
  const noise = new Float32Array(count);
  const key = Uint32Array.of(seed, seed / 2 ** 32);
  const counter = new Uint32Array(4);
  const words = new Uint32Array(4);
  for (let at = 0; at < count; at += 4) {
    counter[0] = at / 4;
    philox(counter, key, words);
    // Writes beyond the end of a typed array vanish.
    for (let pair = 0; pair < 4; pair += 2) {
      // In (0, 1], so that the logarithm is finite.
      const radius = Math.sqrt(-2 * Math.log((words[pair]! + 1) / 2 ** 32));
      const angle = (2 * Math.PI * words[pair + 1]!) / 2 ** 32;
      noise[at + pair] = radius * Math.cos(angle);
      noise[at + pair + 1] = radius * Math.sin(angle);
    }
  }
  return noise;
}

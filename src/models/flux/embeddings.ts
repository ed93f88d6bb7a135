/**
 * Sinusoidal features of scalars: cosines of `features / 2` frequencies from 1 down to almost 1/10000, then their sines
 * (Vaswani et al. 2017, section 3.5, as diffusion models order them).
 * @returns Float32Array [values, features]
 */
export function timestepFeatures(values: readonly number[], features: number): Float32Array {
  const half = features / 2;
  // Rounded to float32 step by step as the reference does: an angle can be thousands of radians, and shows every bit.
  const logBase = Math.fround(Math.log(10000));
  const result = new Float32Array(values.length * features);
  values.forEach((value, row) => {
    for (let index = 0; index < half; index++) {
      const exponent = Math.fround(Math.fround(logBase * index) / half);
      const frequency = Math.fround(Math.exp(-exponent));
      const angle = Math.fround(Math.fround(value) * frequency);
      result[row * features + index] = Math.cos(angle);
      result[row * features + half + index] = Math.sin(angle);
    }
  });
  return result;
}

/**
 * Rotary tables (RoFormer, arXiv 2104.09864) over several position axes: each axis rotates its own share of a head's
 * pairs, base 10000, computed in double precision.
 * @param ids position triples of consecutive runs of tokens, Float32Array [tokens * axes] each
 * @param axes dimensions of a head that belong to each axis
 * @returns cos and sin, Float32Array [tokens, headDim / 2]
 */
export function rotaryTables(
  ids: readonly Float32Array[],
  axes: readonly number[],
): { cos: Float32Array; sin: Float32Array } {
  const frequencies = axes.map((size) =>
    Array.from({ length: size / 2 }, (_, pair) => 1 / 10000 ** ((2 * pair) / size)),
  );
  const pairs = frequencies.reduce((sum, list) => sum + list.length, 0);
  const tokens = ids.reduce((sum, run) => sum + run.length / axes.length, 0);
  const cos = new Float32Array(tokens * pairs);
  const sin = new Float32Array(tokens * pairs);
  let at = 0;
  for (const run of ids) {
    for (let token = 0; token < run.length; token += axes.length) {
      frequencies.forEach((list, axis) => {
        for (const frequency of list) {
          const angle = (run[token + axis] ?? 0) * frequency;
          cos[at] = Math.cos(angle);
          sin[at] = Math.sin(angle);
          at++;
        }
      });
    }
  }
  return { cos, sin };
}

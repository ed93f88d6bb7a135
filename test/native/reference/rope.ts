import { Values } from "../support.ts";

export type RopeLayout = "pairs" | "halves";

/** Rotates each pair of x [batch, heads, tokens, headDim] by its token's angle: cos, sin [tokens, headDim / 2]. */
export function rope(x: Values, cos: Values, sin: Values, layout: RopeLayout): Values {
  const out = new Values(x.shape);
  const half = x.size(3) / 2;
  for (let batch = 0; batch < x.size(0); batch++)
    for (let head = 0; head < x.size(1); head++)
      for (let token = 0; token < x.size(2); token++)
        for (let pair = 0; pair < half; pair++) {
          const [first, second] = layout === "pairs" ? [2 * pair, 2 * pair + 1] : [pair, pair + half];
          const [a, b] = [x.at(batch, head, token, first), x.at(batch, head, token, second)];
          const [c, s] = [cos.at(token, pair), sin.at(token, pair)];
          out.set(a * c - b * s, batch, head, token, first);
          out.set(a * s + b * c, batch, head, token, second);
        }
  return out;
}

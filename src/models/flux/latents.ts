import type { DeviceTensor } from "../../../ffi/index.ts";
import type { Ops } from "../../nn/index.ts";

/** Latent pixels along each side of a token. */
export const PATCH = 2;

/**
 * Latents to tokens: each 2 x 2 patch of all channels becomes one token.
 * @param latents [batch, channels, height, width]
 * @param tokens [batch, height / 2 * width / 2, channels * 4]
 */
export function packLatents(ops: Ops, latents: DeviceTensor, tokens: DeviceTensor): void {
  ops.copy(patches(latents), tokensAsPatches(latents, tokens));
}

/** The inverse of `packLatents`. */
export function unpackLatents(ops: Ops, tokens: DeviceTensor, latents: DeviceTensor): void {
  ops.copy(tokensAsPatches(latents, tokens), patches(latents));
}

/**
 * Where each token of a grid stands: (0, row, column).
 * @returns Float32Array [rows * columns * 3]
 */
export function imagePositionIds(rows: number, columns: number): Float32Array {
  const ids = new Float32Array(rows * columns * 3);
  for (let token = 0; token < rows * columns; token++)
    ids.set([0, Math.floor(token / columns), token % columns], token * 3);
  return ids;
}

/** Latents seen as [batch, rows, columns, channels, 2, 2]. */
function patches(latents: DeviceTensor): DeviceTensor {
  const [batch = 0, channels = 0, height = 0, width = 0] = latents.shape;
  return latents
    .reshape(batch, channels, height / PATCH, PATCH, width / PATCH, PATCH)
    .permute(0, 2, 4, 1, 3, 5);
}

function tokensAsPatches(latents: DeviceTensor, tokens: DeviceTensor): DeviceTensor {
  const [batch = 0, channels = 0, height = 0, width = 0] = latents.shape;
  return tokens.reshape(batch, height / PATCH, width / PATCH, channels, PATCH, PATCH);
}

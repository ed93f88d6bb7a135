import { type DeviceTensor, TamiasError } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";
import type { Family, Grid } from "../models/family.ts";
import type { Picture } from "./events.ts";
import { isFinite, normsOf } from "./finite.ts";

/**
 * Decodes finished or estimated latents to a picture.
 * @param tokens F32 [1, tokens, tokenChannels], in the network's order
 * @param toRaster I32 [tokens], undoes that order
 * @param maxBytes what decoding may take of the device; default: what it likes
 * @throws TamiasError `not_finite`; `out_of_memory` before any work when `maxBytes` is too little
 */
export async function decodePicture(
  ops: Ops,
  family: Family,
  grid: Grid,
  tokens: DeviceTensor,
  toRaster: DeviceTensor,
  maxBytes?: number,
): Promise<Picture> {
  using image = decodeTokens(ops, family, grid, tokens, toRaster, maxBytes);
  const [, , height = 0, width = 0] = image.shape;
  using pixels = ops.memory.temporary([height, width, 3], "u8");
  ops.imageRgb8(image.select(0, 0), pixels);
  using norms = normsOf(ops, image);
  await ops.stream.finished();
  if (!isFinite(ops.stream, norms))
    throw new TamiasError(
      "not_finite",
      "The decoder gave values that are no numbers (NaN or infinity) from finite latents: its weights may be damaged.",
    );
  return { width, height, rgb: ops.stream.read(pixels, new Uint8Array(pixels.bytes)) };
}

/** Tokens in the network's order to what `Family.decode` returns. */
export function decodeTokens(
  ops: Ops,
  family: Family,
  grid: Grid,
  tokens: DeviceTensor,
  toRaster: DeviceTensor,
  maxBytes?: number,
): DeviceTensor {
  using raster = ops.memory.temporary(tokens.shape, "f32");
  ops.gatherRows(tokens, toRaster, raster);
  using latents = ops.memory.temporary([tokens.shape[0] ?? 1, ...family.latentShape(grid).slice(1)], "f32");
  family.unpack(raster, latents);
  return family.decode(latents, { maxBytes });
}

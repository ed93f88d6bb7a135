import { encodeBmp } from "./bmp.ts";
import { type RgbPicture, withPngMetadata } from "./png.ts";

/** Files a picture can be told as; `rgb` is its bare bytes. */
export const pictureFormats = ["png", "jpeg", "webp", "rgb"] as const;
export type PictureFormat = (typeof pictureFormats)[number];

export const mediaTypes: Readonly<Record<PictureFormat, string>> = {
  png: "image/png",
  jpeg: "image/jpeg",
  webp: "image/webp",
  rgb: "application/octet-stream",
};

/**
 * Encodes a picture off the program's thread.
 * @param quality of JPEG and WebP, 0..100
 * @param metadata texts for the file, where the format is PNG
 */
export async function encodePicture(
  picture: RgbPicture,
  format: PictureFormat,
  { quality = 90, metadata }: { quality?: number; metadata?: Readonly<Record<string, string>> } = {},
): Promise<Uint8Array> {
  if (format === "rgb") return picture.rgb;
  const image = new Bun.Image(encodeBmp(picture));
  if (format === "jpeg") return await image.jpeg({ quality }).bytes();
  if (format === "webp") return await image.webp({ quality }).bytes();
  const png = await image.png().bytes();
  return metadata ? withPngMetadata(png, metadata) : png;
}

import type { RgbPicture } from "./png.ts";

const HEADER = 54;

/** A picture as an uncompressed BMP: what image libraries read that take no bare pixels. */
export function encodeBmp({ width, height, rgb }: RgbPicture): Uint8Array<ArrayBuffer> {
  const rowBytes = Math.ceil((width * 3) / 4) * 4;
  const bytes = new Uint8Array(HEADER + rowBytes * height);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x42_4d);
  view.setUint32(2, bytes.length, true);
  view.setUint32(10, HEADER, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  // A negative height means that rows run from the top.
  view.setInt32(22, -height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, 24, true);
  for (let row = 0; row < height; row++) {
    let to = HEADER + row * rowBytes;
    const end = (row + 1) * width * 3;
    for (let from = row * width * 3; from < end; from += 3, to += 3) {
      bytes[to] = rgb[from + 2]!;
      bytes[to + 1] = rgb[from + 1]!;
      bytes[to + 2] = rgb[from]!;
    }
  }
  return bytes;
}

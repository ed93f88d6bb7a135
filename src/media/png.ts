import { TamiasError } from "../../ffi/errors.ts";

/** A picture as rows of RGB bytes from the top left. */
export interface RgbPicture {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] */
  readonly rgb: Uint8Array;
}

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
/** Bytes of a pixel, and of each kind of row filter's reach to the left. */
const CHANNELS = 3;

/**
 * Encodes an RGB picture as PNG (W3C PNG, third edition): 8 bits, not interlaced, rows filtered by the heuristic of
 * least absolute sums.
 * @param metadata keys (Latin letters, at most 79) and texts, stored as iTXt
 */
export function encodePng(
  { width, height, rgb }: RgbPicture,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  if (rgb.length !== width * height * CHANNELS || rgb.length === 0)
    throw new TamiasError(
      "bad_input",
      `A picture of ${width} x ${height} pixels does not have ${rgb.length} bytes.`,
    );
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 2, 0, 0, 0], 8);
  return concatenate([
    SIGNATURE,
    chunk("IHDR", header),
    ...Object.entries(metadata).map(([key, text]) => chunk("iTXt", textChunk(key, text))),
    chunk("IDAT", compress(filterRows(rgb, width * CHANNELS, height))),
    chunk("IEND", new Uint8Array(0)),
  ]);
}

/** Adds texts to a PNG that has none yet; keys as in `encodePng`. */
export function withPngMetadata(png: Uint8Array, metadata: Readonly<Record<string, string>>): Uint8Array {
  const headerEnd = SIGNATURE.length + 25;
  return concatenate([
    png.subarray(0, headerEnd),
    ...Object.entries(metadata).map(([key, text]) => chunk("iTXt", textChunk(key, text))),
    png.subarray(headerEnd),
  ]);
}

/**
 * Decodes a PNG of 8-bit RGB or RGBA pixels (alpha is dropped) without interlacing, checksums included.
 * @throws TamiasError `bad_input` for anything else
 */
export function decodePng(bytes: Uint8Array): RgbPicture & { metadata: Record<string, string> } {
  const damaged = (what: string) =>
    new TamiasError("bad_input", `This is not a PNG that can be read: ${what}.`);
  if (SIGNATURE.some((byte, at) => bytes[at] !== byte)) throw damaged("the signature is missing");
  const metadata: Record<string, string> = {};
  const data: Uint8Array[] = [];
  let [width, height, channels] = [0, 0, 0];
  for (let at = SIGNATURE.length; at < bytes.length;) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at);
    const length = bytes.length - at >= 12 ? view.getUint32(0) : Number.POSITIVE_INFINITY;
    if (at + 12 + length > bytes.length) throw damaged("it ends in the middle of a chunk");
    const type = new TextDecoder().decode(bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (view.getUint32(8 + length) !== Bun.hash.crc32(bytes.subarray(at + 4, at + 8 + length)))
      throw damaged(`the checksum of ${type} is wrong`);
    if (type === "IHDR") {
      [width, height] = [view.getUint32(8), view.getUint32(12)];
      channels = content[9] === 2 ? 3 : content[9] === 6 ? 4 : 0;
      if (content[8] !== 8 || channels === 0 || content[12] !== 0)
        throw damaged("only 8-bit RGB and RGBA without interlacing are supported");
    } else if (type === "IDAT") data.push(content);
    else if (type === "iTXt") Object.assign(metadata, readTextChunk(content));
    at += 12 + length;
  }
  const rows = decompress(concatenate(data));
  if (!rows) throw damaged("its pixel data is no sound zlib stream");
  if (rows.length !== height * (width * channels + 1)) throw damaged("it has not as many pixels as it says");
  const pixels = unfilterRows(rows, width * channels, height, channels);
  return { width, height, rgb: channels === 3 ? pixels : dropAlpha(pixels), metadata };
}

/** Filter byte and filtered bytes of each row. */
function filterRows(pixels: Uint8Array, rowBytes: number, height: number): Uint8Array {
  const rows = new Uint8Array(height * (rowBytes + 1));
  const candidates = Array.from({ length: 5 }, () => new Uint8Array(rowBytes));
  const noRow = new Uint8Array(rowBytes);
  for (let row = 0; row < height; row++) {
    const current = pixels.subarray(row * rowBytes, (row + 1) * rowBytes);
    const above = row === 0 ? noRow : pixels.subarray((row - 1) * rowBytes, row * rowBytes);
    let best = 0;
    let least = Number.POSITIVE_INFINITY;
    candidates.forEach((out, filter) => {
      let sum = 0;
      for (let at = 0; at < rowBytes; at++) {
        const left = at < CHANNELS ? 0 : current[at - CHANNELS]!;
        const corner = at < CHANNELS ? 0 : above[at - CHANNELS]!;
        const value = (current[at]! - predict(filter, left, above[at]!, corner)) & 255;
        out[at] = value;
        sum += value < 128 ? value : 256 - value;
      }
      if (sum < least) [best, least] = [filter, sum];
    });
    rows[row * (rowBytes + 1)] = best;
    rows.set(candidates[best]!, row * (rowBytes + 1) + 1);
  }
  return rows;
}

function unfilterRows(rows: Uint8Array, rowBytes: number, height: number, channels: number): Uint8Array {
  const pixels = new Uint8Array(rowBytes * height);
  for (let row = 0; row < height; row++) {
    const filter = rows[row * (rowBytes + 1)]!;
    const start = row * rowBytes;
    for (let at = 0; at < rowBytes; at++) {
      const left = at < channels ? 0 : pixels[start + at - channels]!;
      const above = row === 0 ? 0 : pixels[start + at - rowBytes]!;
      const corner = row === 0 || at < channels ? 0 : pixels[start + at - rowBytes - channels]!;
      pixels[start + at] = rows[row * (rowBytes + 1) + 1 + at]! + predict(filter, left, above, corner);
    }
  }
  return pixels;
}

/** None, left, above, their mean, or Paeth's choice. */
function predict(filter: number, left: number, above: number, corner: number): number {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return above;
  if (filter === 3) return (left + above) >> 1;
  const toLeft = Math.abs(above - corner);
  const toAbove = Math.abs(left - corner);
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** A zlib stream: header, raw deflate, Adler-32. */
function compress(bytes: Uint8Array): Uint8Array {
  const checksum = new Uint8Array(4);
  new DataView(checksum.buffer).setUint32(0, Bun.hash.adler32(bytes));
  const deflated = Bun.deflateSync(bytes as Uint8Array<ArrayBuffer>, { level: 6, library: "libdeflate" });
  return concatenate([Uint8Array.of(0x78, 0x9c), deflated, checksum]);
}

/** The content of a zlib stream; undefined when it or its checksum is damaged. */
function decompress(stream: Uint8Array): Uint8Array | undefined {
  if (stream.length < 6) return undefined;
  try {
    const bytes = Bun.inflateSync(stream.slice(2, -4));
    const checksum = new DataView(stream.buffer, stream.byteOffset + stream.length - 4).getUint32(0);
    return Bun.hash.adler32(bytes) === checksum ? bytes : undefined;
  } catch {
    return undefined;
  }
}

function chunk(type: string, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, Bun.hash.crc32(bytes.subarray(4, 8 + content.length)));
  return bytes;
}

/** Keyword, no compression, no language, no translated keyword, text. */
function textChunk(key: string, text: string): Uint8Array {
  if (!/^[A-Za-z][A-Za-z0-9 ._-]{0,78}$/.test(key))
    throw new TamiasError("bad_input", `"${key}" cannot be a keyword of PNG metadata.`);
  return new TextEncoder().encode(`${key}\0\0\0\0\0${text}`);
}

function readTextChunk(content: Uint8Array): Record<string, string> {
  const [key = "", , , , , ...text] = new TextDecoder().decode(content).split("\0");
  return { [key]: text.join("\0") };
}

function dropAlpha(rgba: Uint8Array): Uint8Array {
  return rgba.filter((_, at) => at % 4 !== 3);
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Bun.concatArrayBuffers(parts as Uint8Array<ArrayBuffer>[]));
}

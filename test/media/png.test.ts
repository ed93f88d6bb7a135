import { expect, test } from "bun:test";
import { inflateSync } from "node:zlib";
import { decodePng, encodePng } from "../../src/media/png.ts";

function noisyPicture(width: number, height: number) {
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, at) => (at * 7 + ((at * at) >> 5)) & 255);
  return { width, height, rgb };
}

test.each([
  [1, 1],
  [5, 3],
  [64, 40],
])("a %d x %d picture and its metadata survive", (width, height) => {
  const picture = noisyPicture(width, height);
  const metadata = { Prompt: "a red fox 狐 🦊", Seed: "7" };
  const decoded = decodePng(encodePng(picture, metadata));
  expect(decoded).toEqual({ ...picture, metadata });
});

test("the pixel data is a zlib stream that others read, checksum included", () => {
  const { width, height, rgb } = noisyPicture(33, 9);
  const bytes = Buffer.from(encodePng({ width, height, rgb }));
  const at = bytes.indexOf("IDAT");
  const data = bytes.subarray(at + 4, at + 4 + bytes.readUInt32BE(at - 4));
  expect(inflateSync(data).length).toBe(height * (width * 3 + 1));
});

test("a smooth picture gets small", () => {
  const rgb = Uint8Array.from({ length: 128 * 128 * 3 }, (_, at) => Math.floor(at / 3 / 128));
  expect(encodePng({ width: 128, height: 128, rgb }).length).toBeLessThan(1500);
});

test("wrong sizes, wrong keys and damaged files get a clear error", () => {
  expect(() => encodePng({ width: 2, height: 2, rgb: new Uint8Array(11) })).toThrow(/2 x 2/);
  expect(() => encodePng(noisyPicture(2, 2), { "bad\0key": "x" })).toThrow(/keyword/);
  const good = encodePng(noisyPicture(8, 8));
  expect(() => decodePng(good.slice(1))).toThrow(/signature/);
  expect(() => decodePng(good.slice(0, -20))).toThrow(/middle of a chunk/);
  const flipped = good.slice();
  flipped[60]! ^= 1;
  expect(() => decodePng(flipped)).toThrow(/checksum/);
});

test("pixel data that does not decompress is a clear error, even where every chunk's checksum is right", () => {
  const good = encodePng(noisyPicture(8, 8));
  const at = Buffer.from(good).indexOf("IDAT");
  const view = new DataView(good.buffer, good.byteOffset);
  const end = at + 4 + view.getUint32(at - 4);
  for (const place of [at + 6, end - 1]) {
    const damaged = good.slice();
    damaged[place]! ^= 0xff;
    new DataView(damaged.buffer).setUint32(end, Bun.hash.crc32(damaged.subarray(at, end)));
    expect(() => decodePng(damaged)).toThrow(/zlib/);
  }
});

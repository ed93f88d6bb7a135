import { expect, test } from "bun:test";
import { encodePicture } from "../../src/media/encode-picture.ts";
import { decodePng } from "../../src/media/png.ts";

/** Bands of colours, so that a lossy file stays near. */
function bands(width: number, height: number) {
  const rgb = Uint8Array.from(
    { length: width * height * 3 },
    (_, at) => (at % 3) * 100 + Math.floor(at / width / 3),
  );
  return { width, height, rgb };
}

test.each([
  [1, 1],
  [5, 3],
  [6, 7],
  [64, 40],
])("a PNG of %i x %i pixels has every pixel, and the metadata", async (width, height) => {
  const picture = bands(width, height);
  const metadata = { prompt: "a red fox 狐", seed: "7" };
  expect(decodePng(await encodePicture(picture, "png", { metadata }))).toEqual({ ...picture, metadata });
});

test.each(["jpeg", "webp"] as const)("%s keeps size and colours, and quality costs bytes", async (format) => {
  const picture = bands(64, 40);
  const bytes = await encodePicture(picture, format, { quality: 95 });
  const { width, height, rgb } = decodePng(await new Bun.Image(bytes).png().bytes());
  expect([width, height]).toEqual([64, 40]);
  const most = rgb.reduce((worst, value, at) => Math.max(worst, Math.abs(value - picture.rgb[at]!)), 0);
  expect(most).toBeLessThan(40);
  const noise = { ...picture, rgb: picture.rgb.map((_, at) => (at * 7919) % 256) };
  const [poor, good] = [
    await encodePicture(noise, format, { quality: 20 }),
    await encodePicture(noise, format, { quality: 95 }),
  ];
  expect(poor.length).toBeLessThan(good.length);
});

test("rgb is the picture's own bytes", async () => {
  const picture = bands(3, 2);
  expect(await encodePicture(picture, "rgb")).toBe(picture.rgb);
});

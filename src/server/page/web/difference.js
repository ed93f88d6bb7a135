import { colorOf } from "./heat-map.js";

/**
 * Draws how far two pictures are apart, pixel by pixel.
 * @returns the peak signal-to-noise ratio in dB, infinite when they are equal
 */
export function drawDifference(a, b, canvas, gain) {
  const { width, height } = a;
  const image = new ImageData(width, height);
  let squares = 0;
  for (let at = 0; at < a.data.length; at += 4) {
    let most = 0;
    for (let channel = at; channel < at + 3; channel++) {
      const difference = Math.abs(a.data[channel] - b.data[channel]);
      squares += difference ** 2;
      most = Math.max(most, difference);
    }
    image.data.set([...colorOf((most * gain) / 255), 255], at);
  }
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return 10 * Math.log10(255 ** 2 / (squares / (width * height * 3)));
}

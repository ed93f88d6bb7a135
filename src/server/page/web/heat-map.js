/** Samples of matplotlib's "magma" (van der Walt and Smith, CC0). */
const magma = [
  [0, 0, 4],
  [28, 16, 68],
  [79, 18, 123],
  [129, 37, 129],
  [181, 54, 122],
  [229, 80, 100],
  [251, 135, 97],
  [254, 197, 140],
  [252, 253, 191],
];

/** The colour of a value from 0 to 1. */
export function colorOf(value) {
  const place = Math.min(1, Math.max(0, value)) * (magma.length - 1);
  const below = magma[Math.floor(place)];
  const above = magma[Math.ceil(place)];
  return below.map((channel, at) => channel + (above[at] - channel) * (place - Math.floor(place)));
}

/** Shares from here on all look alike; a power below 1 spreads the many small ones apart. */
const BRIGHTEST = 0.6;
const POWER = 0.65;

/**
 * Draws which image keys a step recomputed, over the picture.
 * @returns what is to be seen
 */
export function drawColumns(canvas, { action, grid, payload }) {
  if (action === "skip") return "This step was skipped: nothing was computed.";
  if (!payload) {
    Object.assign(canvas, { width: 1, height: 1 });
    canvas.getContext("2d").clearRect(0, 0, 1, 1);
    return "This step computed everything.";
  }
  const [rows, columns] = grid;
  Object.assign(canvas, { width: columns, height: rows });
  const image = new ImageData(columns, rows);
  payload.forEach((byte, at) => {
    image.data.set([...colorOf((byte / 255 / BRIGHTEST) ** POWER), 255], at * 4);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return "Bright places: attention keys that many parts of the picture computed anew. Dark: taken from the cache.";
}

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

/**
 * Draws which image keys a step recomputed, over the picture.
 * @returns what is to be seen
 */
export function drawColumns(canvas, { action, grid, payload }) {
  if (action === "skip") return "This step was skipped: nothing was computed.";
  if (payload)
    return drawShares(
      canvas,
      grid,
      Float32Array.from(payload, (byte) => byte / 255),
    );
  clear(canvas);
  return "This step computed everything.";
}

/** The same for a whole run: the mean over the steps that ran deltas. */
export function drawMeanColumns(canvas, steps) {
  const maps = steps.filter(({ payload }) => payload);
  if (maps.length === 0) {
    clear(canvas);
    return "Every step computed everything.";
  }
  const [{ grid, payload: first }] = maps;
  const shares = Float32Array.from(first, (_, at) => {
    const sum = maps.reduce((total, { payload }) => total + payload[at], 0);
    return sum / maps.length / 255;
  });
  return drawShares(canvas, grid, shares);
}

/** Brightness is relative to the brightest, and squared: most keys are chosen by some rows, few by many. */
function drawShares(canvas, [frames, gridRows, columns], shares) {
  // Frames of a clip stand below one another.
  const rows = frames * gridRows;
  const most = Math.max(...shares, 1e-3);
  const image = new ImageData(columns, rows);
  shares.forEach((share, at) => image.data.set([...colorOf((share / most) ** 2), 255], at * 4));
  Object.assign(canvas, { width: columns, height: rows });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return `Bright: attention keys that many rows computed anew, up to ${Math.round(most * 100)} % of them. Dark: kept.`;
}

function clear(canvas) {
  Object.assign(canvas, { width: 1, height: 1 });
}

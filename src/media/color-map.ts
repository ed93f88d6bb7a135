/** Red, green and blue, 0..255. */
export type Color = readonly [number, number, number];

/** Seventeen samples of matplotlib's "magma" (van der Walt and Smith, CC0): lightness rises evenly from black to cream. */
const magma: readonly Color[] = [
  [0, 0, 4],
  [10, 8, 34],
  [28, 16, 68],
  [53, 15, 107],
  [79, 18, 123],
  [104, 28, 129],
  [129, 37, 129],
  [155, 46, 127],
  [181, 54, 122],
  [207, 64, 112],
  [229, 80, 100],
  [244, 105, 92],
  [251, 135, 97],
  [254, 166, 115],
  [254, 197, 140],
  [253, 226, 168],
  [252, 253, 191],
];

/** The colour of a value from 0 to 1. */
export function colorOf(value: number): Color {
  const place = Math.min(1, Math.max(0, value)) * (magma.length - 1);
  const below = magma[Math.floor(place)]!;
  const above = magma[Math.ceil(place)]!;
  const share = place - Math.floor(place);
  const mix = (channel: 0 | 1 | 2) => Math.round(below[channel] + (above[channel] - below[channel]) * share);
  return [mix(0), mix(1), mix(2)];
}

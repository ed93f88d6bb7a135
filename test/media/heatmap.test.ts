import { expect, test } from "bun:test";
import { tileOrder } from "../../src/delta/token-order.ts";
import { type Color, colorOf } from "../../src/media/color-map.ts";
import { drawHeatmap } from "../../src/media/heatmap.ts";
import type { Picture } from "../../src/pipeline/events.ts";
import { syntheticRun } from "../cli/synthetic-run.ts";

const distance = (a: Color, b: Color) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);

function countPixels({ rgb }: Picture, wanted: Color): number {
  let count = 0;
  for (let at = 0; at < rgb.length; at += 3)
    if (rgb[at] === wanted[0] && rgb[at + 1] === wanted[1] && rgb[at + 2] === wanted[2]) count++;
  return count;
}

test("is as large as it says, for grids of any shape", () => {
  for (const grid of [
    [1, 1],
    [5, 9],
    [32, 32],
    [64, 48],
    [3, 200],
  ] as const) {
    const { width, height, rgb } = drawHeatmap(syntheticRun({ grid, steps: 4, layers: 2 }));
    expect(rgb.length).toBe(width * height * 3);
    expect(width).toBeLessThan(2400);
  }
});

test("draws runs of one step, one layer, and of many of both", () => {
  expect(drawHeatmap(syntheticRun({ steps: 2, layers: 1 })).height).toBeGreaterThan(200);
  const large = drawHeatmap(syntheticRun({ steps: 50, layers: 57, grid: [16, 16], neurons: 64 }));
  expect(large.width).toBeLessThan(2400);
});

test("puts each key at its place in the picture", () => {
  // One key alone is chosen by all: raster row 2, column 5 of 8 x 8, drawn at 10 pixels a token.
  const run = syntheticRun({ grid: [8, 8], steps: 4, layers: 1 });
  const delta = run.steps.findLastIndex(({ action }) => action === "run");
  const { order } = tileOrder(8, 8);
  const frequency = new Float32Array(64 + 64).fill(0.5);
  frequency[64 + order.indexOf(2 * 8 + 5)] = 1;
  const cells = [
    { branch: 0, layer: 0, module: "attention", action: "delta", density: 0.5, columnFrequency: frequency },
  ] as const;
  const steps = run.steps.map((step, index) => ({ ...step, cells: index === delta ? cells : [] }));
  const picture = drawHeatmap({ start: run.start, steps });
  const bright = colorOf(1);
  const found: [number, number][] = [];
  for (let y = 0; y < picture.height; y++)
    for (let x = 0; x < picture.width; x++) {
      const at = (y * picture.width + x) * 3;
      const color: Color = [picture.rgb[at]!, picture.rgb[at + 1]!, picture.rgb[at + 2]!];
      if (distance(color, bright) === 0) found.push([x, y]);
    }
  // Besides the legend, which is lower down, one 10 x 10 square.
  const top = found[0]![1];
  const square = found.filter(([, y]) => y < top + 10);
  expect(square).toHaveLength(100);
  expect(Math.min(...square.map(([x]) => x))).toBe(28 + 62 + delta * (80 + 4) + 5 * 10);
});

test("tells refreshed, dense and skipped cells apart", () => {
  const run = syntheticRun({ steps: 8, layers: 2, grid: [8, 8] });
  const picture = drawHeatmap(run);
  const cell = 80 * 80 + 80 * 12;
  expect(countPixels(picture, [38, 108, 108])).toBe(2 * 2 * cell + 12 * 12);
  expect(countPixels(picture, [64, 72, 95])).toBe(1 * 2 * cell + 12 * 12);
  expect(countPixels(picture, [66, 70, 84])).toBeGreaterThan(80 * 30);
});

test("the colours grow lighter evenly", () => {
  const luma = ([red, green, blue]: Color) => 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  const values = Array.from({ length: 101 }, (_, at) => luma(colorOf(at / 100)));
  for (let at = 1; at < values.length; at++) expect(values[at]!).toBeGreaterThan(values[at - 1]! - 0.5);
  expect(colorOf(-1)).toEqual(colorOf(0));
  expect(colorOf(2)).toEqual(colorOf(1));
});

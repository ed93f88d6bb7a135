import type { CellReport } from "../delta/run.ts";
import type { Picture, StartEvent, StepEvent } from "../pipeline/events.ts";
import { CHARACTER_WIDTH, LINE_HEIGHT, textWidth } from "./bitmap-font.ts";
import { type Box, Canvas } from "./canvas.ts";
import { type Color, colorOf } from "./color-map.ts";
import { imageKeyShares } from "./key-shares.ts";
import { stepWord } from "./step-word.ts";

/** What a run told, with columns recorded (`GenerateOptions.recordColumns`). */
export interface HeatmapRun {
  readonly start: StartEvent;
  readonly steps: readonly StepEvent[];
  /** The finished picture, drawn small beside the title. */
  readonly result?: Picture;
}

const background: Color = [15, 16, 21];
const ink: Color = [228, 229, 234];
const paleInk: Color = [139, 143, 156];
const denseColor: Color = [64, 72, 95];
const refreshColor: Color = [38, 108, 108];
const reuseColor: Color = [32, 34, 43];
const hatchColor: Color = [66, 70, 84];

const MARGIN = 28;
const GAP = 4;
const LAYER_GAP = 10;
const STRIP_HEIGHT = 12;
const THUMBNAIL = 96;
const LEFT_LABELS = 62;
const RIGHT_LABELS = 66;
/** Longest side of a cell's map: small enough for a screen, large enough to see the picture in it. */
const LARGEST_CELL = 80;
const SMALLEST_CELL = 12;
const COMFORTABLE_WIDTH = 2200;

/**
 * Draws which columns a run recomputed: steps across, layers down. A delta's attention cell is a map of the picture in
 * which each image key has its place, brighter where more of the picture's queries chose it; the strip beneath holds
 * the neurons of the layer's MLP. Cells that computed everything are solid, skipped steps hatched.
 */
export function drawHeatmap(run: HeatmapRun): Picture {
  const layout = layOut(run);
  const canvas = new Canvas(layout.width, layout.height, background);
  drawHeader(canvas, run);
  run.steps.forEach((step, column) => drawStep(canvas, run.start, layout, step, column));
  drawLabels(canvas, layout, run.steps);
  drawLegend(canvas, layout);
  return { width: canvas.width, height: canvas.height, rgb: canvas.rgb };
}

interface Layout {
  readonly width: number;
  readonly height: number;
  readonly layers: number;
  /** Top left of the first cell. */
  readonly left: number;
  readonly top: number;
  readonly cellWidth: number;
  readonly cellHeight: number;
  /** From one layer's top to the next. */
  readonly layerHeight: number;
  /** Top of what is written below the cells. */
  readonly bottom: number;
}

function layOut({ start, steps }: HeatmapRun): Layout {
  const layers =
    1 + steps.flatMap(({ cells }) => cells).reduce((most, { layer }) => Math.max(most, layer), 0);
  const [, rows, columns] = start.grid;
  const room = (COMFORTABLE_WIDTH - LEFT_LABELS - RIGHT_LABELS) / Math.max(1, steps.length) - GAP;
  const longest = Math.max(SMALLEST_CELL, Math.min(LARGEST_CELL, Math.floor(room)));
  const scale = pixelsPerToken(longest / Math.max(rows, columns));
  const cellWidth = Math.max(1, Math.round(columns * scale));
  const cellHeight = Math.max(1, Math.round(rows * scale));
  const layerHeight = cellHeight + 2 + STRIP_HEIGHT + LAYER_GAP;
  const left = MARGIN + LEFT_LABELS;
  const top = MARGIN + THUMBNAIL + MARGIN + 2 * LINE_HEIGHT;
  const bottom = top + layers * layerHeight;
  const right = left + steps.length * (cellWidth + GAP) - GAP + RIGHT_LABELS;
  return {
    width: Math.max(right + MARGIN, MARGIN + LEGEND_WIDTH + MARGIN),
    height: bottom + 4 * LINE_HEIGHT + MARGIN + LEGEND_HEIGHT + MARGIN,
    layers,
    left,
    top,
    cellWidth,
    cellHeight,
    layerHeight,
    bottom,
  };
}

/** Whole pixels for a token where it is larger than one: every token then looks alike. */
function pixelsPerToken(scale: number): number {
  return scale >= 1 ? Math.floor(scale) : scale;
}

// ---- title

function drawHeader(canvas: Canvas, { start, steps, result }: HeatmapRun): void {
  const { settings, device } = start;
  let x = MARGIN;
  if (result) {
    const scale = THUMBNAIL / Math.max(result.width, result.height);
    const box = {
      x,
      y: MARGIN,
      width: Math.round(result.width * scale),
      height: Math.round(result.height * scale),
    };
    drawThumbnail(canvas, result, box);
    x += box.width + 20;
  }
  const mean = (value: (step: StepEvent) => number) =>
    steps.reduce((sum, step) => sum + value(step), 0) / Math.max(1, steps.length);
  const seconds = steps.reduce((sum, step) => sum + step.seconds, 0);
  const room = canvas.width - x - MARGIN;
  canvas.text(cut(settings.prompt, room / 2), x, MARGIN + 4, ink, "left", 2);
  const lines = [
    `${settings.model}, ${settings.width} x ${settings.height}, ${settings.steps} steps, seed ${settings.seed}, guidance ${settings.guidance ?? "none"}`,
    `policy ${settings.policy}: ${percent(mean(({ density }) => density))} of the columns recomputed (attention ${percent(mean(({ attentionDensity }) => attentionDensity))}, MLP ${percent(mean(({ mlpDensity }) => mlpDensity))})`,
    `${seconds.toFixed(1)} s of denoising on ${device}`,
  ];
  lines.forEach((line, row) =>
    canvas.text(cut(line, room), x, MARGIN + 36 + row * (LINE_HEIGHT + 5), paleInk),
  );
}

function drawThumbnail(canvas: Canvas, picture: Picture, box: Box): void {
  const channel = (offset: number) =>
    scaler(
      (x, y) => picture.rgb[(y * picture.width + x) * 3 + offset] ?? 0,
      picture.width,
      picture.height,
      box,
    );
  const [red, green, blue] = [channel(0), channel(1), channel(2)];
  canvas.paint(box, (x, y) => [red(x, y), green(x, y), blue(x, y)]);
}

// ---- cells

function drawStep(canvas: Canvas, start: StartEvent, layout: Layout, step: StepEvent, column: number): void {
  const { cellWidth, cellHeight, layerHeight } = layout;
  const x = layout.left + column * (cellWidth + GAP);
  if (step.action === "skip") {
    const height = layout.layers * layerHeight - LAYER_GAP;
    hatch(canvas, { x, y: layout.top, width: cellWidth, height });
    return;
  }
  for (const cell of step.cells) {
    const y = layout.top + cell.layer * layerHeight;
    if (cell.module === "attention") {
      const box = { x, y, width: cellWidth, height: cellHeight };
      drawCell(canvas, box, cell, (frequency) => imageKeys(frequency, start, box));
    } else if (cell.module === "mlp") {
      const box = { x, y: y + cellHeight + 2, width: cellWidth, height: STRIP_HEIGHT };
      drawCell(canvas, box, cell, (frequency) => neurons(frequency, box));
    }
  }
}

/** Value 0..1 of each pixel of a box. */
type Field = (x: number, y: number) => number;

function drawCell(canvas: Canvas, box: Box, cell: CellReport, map: (frequency: Float32Array) => Field): void {
  const { action, columnFrequency, density } = cell;
  if (action === "delta") {
    const field = columnFrequency ? map(columnFrequency) : () => density;
    canvas.paint(box, (x, y) => colorOf(brightness(field(x, y))));
  } else {
    canvas.rect(box, { dense: denseColor, refresh: refreshColor, reuse: reuseColor }[action]);
  }
}

/** Most columns are chosen by few rows: a power below 1 spreads those apart, and from here on all look alike. */
const BRIGHTEST = 0.6;
const POWER = 0.65;

/** Place on the colour scale, 0..1. */
function brightness(frequency: number): number {
  return Math.min(1, Math.max(0, frequency) / BRIGHTEST) ** POWER;
}

/** Image keys at their places in the picture. */
function imageKeys(frequency: Float32Array, start: StartEvent, box: Box): Field {
  const [, rows, columns] = start.grid;
  const shares = imageKeyShares(frequency, start);
  return scaler((x, y) => shares[y * columns + x] ?? 0, columns, rows, box);
}

/** Neurons column by column, so that a strip shows more of them than it is wide. */
function neurons(frequency: Float32Array, { width, height }: Box): Field {
  const cells = width * height;
  return (x, y) => {
    const place = x * height + y;
    return meanBetween(
      frequency,
      (place * frequency.length) / cells,
      ((place + 1) * frequency.length) / cells,
    );
  };
}

function meanBetween(values: Float32Array, from: number, to: number): number {
  const first = Math.floor(from);
  const end = Math.max(first + 1, Math.floor(to));
  let sum = 0;
  for (let at = first; at < end; at++) sum += values[at] ?? 0;
  return sum / (end - first);
}

/** Scales a grid of values into a box: means where it shrinks, squares where it grows. */
function scaler(value: Field, columns: number, rows: number, box: Box): Field {
  const span = (at: number, cells: number, pixels: number): readonly [number, number] => {
    const first = Math.floor((at * cells) / pixels);
    return [first, Math.max(first + 1, Math.floor(((at + 1) * cells) / pixels))];
  };
  return (x, y) => {
    const [left, right] = span(x, columns, box.width);
    const [top, bottom] = span(y, rows, box.height);
    let sum = 0;
    for (let row = top; row < bottom; row++)
      for (let column = left; column < right; column++) sum += value(column, row);
    return sum / ((right - left) * (bottom - top));
  };
}

function hatch(canvas: Canvas, box: Box): void {
  canvas.paint(box, (x, y) => ((x + y) % 6 === 0 ? hatchColor : background));
}

// ---- words around the cells

function drawLabels(canvas: Canvas, layout: Layout, steps: readonly StepEvent[]): void {
  const { left, top, cellWidth, cellHeight, layerHeight, bottom } = layout;
  const pitch = cellWidth + GAP;
  const right = left + steps.length * pitch + 8;

  for (let layer = 0; layer < layout.layers; layer++) {
    const y = top + layer * layerHeight;
    canvas.text(`layer ${layer}`, left - 10, y + Math.max(0, Math.round(cellHeight / 2) - 4), ink, "right");
    canvas.text("MLP", left - 10, y + cellHeight + 4, paleInk, "right");
    const cells = steps.flatMap((step) => step.cells.filter((cell) => cell.layer === layer));
    const label = (module: CellReport["module"]) => {
      const densities = cells.filter((cell) => cell.module === module).map(({ density }) => density);
      return densities.length > 0
        ? percent(densities.reduce((sum, density) => sum + density, 0) / steps.length)
        : "";
    };
    canvas.text(label("attention"), right, y + Math.max(0, Math.round(cellHeight / 2) - 4), ink);
    canvas.text(label("mlp"), right, y + cellHeight + 4, paleInk);
  }
  canvas.text("mean", right, top - LINE_HEIGHT - 4, paleInk);

  // Where cells are narrow, only every second, third … step has room for its words.
  const stride = Math.ceil(textWidth("refresh ") / pitch);
  const rows: readonly [string, Color, (step: StepEvent) => string][] = [
    ["step", ink, (step) => String(step.step + 1)],
    ["attention", paleInk, (step) => percent(step.attentionDensity)],
    ["MLP", paleInk, (step) => percent(step.mlpDensity)],
    ["seconds", paleInk, (step) => step.seconds.toFixed(step.seconds < 10 ? 2 : 1)],
  ];
  rows.forEach(([name, color, value], row) => {
    const y = bottom + row * (LINE_HEIGHT + 1);
    canvas.text(name, left - 10, y, color, "right");
    steps.forEach((step, column) => {
      if (column % stride === 0)
        canvas.text(value(step), left + column * pitch + cellWidth / 2, y, color, "center");
    });
  });
  steps.forEach((step, column) => {
    if (column % stride === 0)
      canvas.text(
        stepWord(step),
        left + column * pitch + cellWidth / 2,
        top - LINE_HEIGHT - 4,
        paleInk,
        "center",
      );
  });
}

const LEGEND_HEIGHT = 58;
const SCALE_WIDTH = 256;
const LEGEND_WIDTH = 840;

function drawLegend(canvas: Canvas, { bottom }: Layout): void {
  const y = bottom + 4 * (LINE_HEIGHT + 1) + MARGIN;
  let x = MARGIN;
  canvas.paint({ x, y, width: SCALE_WIDTH, height: 12 }, (column) => colorOf(column / (SCALE_WIDTH - 1)));
  for (const share of [0, 0.05, 0.15, 0.3, BRIGHTEST]) {
    const align = share === 0 ? "left" : share === BRIGHTEST ? "right" : "center";
    const words = share === BRIGHTEST ? `${percent(share)}+` : percent(share);
    canvas.text(words, x + Math.round(brightness(share) * SCALE_WIDTH), y + 18, paleInk, align);
  }
  canvas.text("rows that recomputed this column", x, y + 34, ink);
  x += SCALE_WIDTH + 36;
  const swatches: readonly [string, (box: Box) => void][] = [
    ["refresh: everything, and a new mask", (box) => canvas.rect(box, refreshColor)],
    ["dense: everything", (box) => canvas.rect(box, denseColor)],
    ["reuse: nothing, the last output stands", (box) => canvas.rect(box, reuseColor)],
    ["skipped step: the network did not run", (box) => hatch(canvas, box)],
  ];
  const pitch = 38 * CHARACTER_WIDTH + 44;
  swatches.forEach(([words, draw], index) => {
    const box = { x: x + (index % 2) * pitch, y: y + Math.floor(index / 2) * 20, width: 12, height: 12 };
    draw(box);
    canvas.text(words, box.x + 20, box.y + 3, ink);
  });
  canvas.text("squares: keys at their place in the picture; strips: neurons of the MLP", x, y + 46, paleInk);
}

function percent(share: number): string {
  return `${Math.round(share * 100)}%`;
}

/** Text cut to a width in pixels. */
function cut(text: string, pixels: number): string {
  const characters = [...text];
  const room = Math.floor(pixels / CHARACTER_WIDTH);
  return characters.length <= room
    ? text
    : `${characters
        .slice(0, Math.max(0, room - 3))
        .join("")
        .trimEnd()}...`;
}

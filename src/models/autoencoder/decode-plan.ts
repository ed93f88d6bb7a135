import type { Convolution } from "../../nn/index.ts";
import type { DecoderStep } from "./network.ts";

/** How the decoder's steps are run: one after the other, each stretch of them whole or in bands. */
export type DecodePlan = readonly Stretch[];

export interface Stretch {
  readonly steps: readonly DecoderStep[];
  /** Rows of a band; absent: the (one) step runs on the whole feature map. */
  readonly bandRows?: number;
}

/** Bytes of the largest tensor of a band, from fast to frugal. */
export const bandSizes = [16, 4, 1].map((mebibytes) => mebibytes * 2 ** 20);

/** Rows below this would mostly be computed for their neighbours. */
const FEWEST_BAND_ROWS = 8;
/** What copying bands in and out costs, beside the arithmetic. */
const BAND_COST = 1.1;
/** Tensors of a band that live at once. */
const BAND_TENSORS = 4;

/** Every step on the whole feature map: the fastest. */
export function wholePlan(steps: readonly DecoderStep[]): DecodePlan {
  return steps.map((step) => ({ steps: [step] }));
}

interface Option {
  readonly stretch: Stretch;
  readonly bytes: number;
  /** Multiplications. */
  readonly cost: number;
}

/**
 * The plan with the least arithmetic whose feature maps take at most `maxBytes` by estimate; where there is none, one of
 * those that take least.
 * @param shape [batch, channels, height, width] before the first step
 */
export function planDecode(
  steps: readonly DecoderStep[],
  shape: readonly number[],
  { maxBytes, bandBytes, elementBytes }: { maxBytes: number; bandBytes: number; elementBytes: number },
): DecodePlan {
  const shapes = [shape];
  for (const step of steps) shapes.push(outputShape(step, shapes.at(-1)!));
  // Best plans up to each step: of least cost within the limit, and of least memory.
  const best: (Found | undefined)[] = [{ plan: [], bytes: 0, cost: 0 }];
  for (let end = 1; end <= steps.length; end++) {
    for (let start = 0; start < end; start++) {
      const before = best[start]!;
      for (const { stretch, bytes, cost } of options(steps, shapes, start, end, bandBytes, elementBytes)) {
        const found = {
          plan: [...before.plan, stretch],
          bytes: Math.max(before.bytes, bytes),
          cost: before.cost + cost,
        };
        if (isBetter(found, best[end], maxBytes)) best[end] = found;
      }
    }
  }
  return best[steps.length]!.plan;
}

interface Found {
  readonly plan: DecodePlan;
  readonly bytes: number;
  readonly cost: number;
}

function isBetter(a: Found, b: Found | undefined, maxBytes: number): boolean {
  if (!b) return true;
  const overA = Math.max(0, a.bytes - maxBytes);
  const overB = Math.max(0, b.bytes - maxBytes);
  return overA < overB || (overA === overB && a.cost < b.cost);
}

/** The ways to run steps start..end-1 without holding a feature map between them. */
function options(
  steps: readonly DecoderStep[],
  shapes: readonly (readonly number[])[],
  start: number,
  end: number,
  bandBytes: number,
  elementBytes: number,
): Option[] {
  const stretch = steps.slice(start, end);
  const bytesOf = (shape: readonly number[]) => elementBytes * shape.reduce((size, side) => size * side, 1);
  const held = bytesOf(shapes[start]!) + bytesOf(shapes[end]!);
  const ofRow = (shape: readonly number[]) => bytesOf(shape) / shape[2]!;
  const widest = Math.max(
    ...stretch.map((_, at) =>
      Math.max(
        ofRow(shapes[start + at]!.with(3, shapes[start + at + 1]![3]!)),
        ofRow(shapes[start + at + 1]!),
      ),
    ),
  );
  const bandRows = Math.max(FEWEST_BAND_ROWS, Math.floor(bandBytes / widest));
  const reach = stretch.reduce((sum, step) => sum + (step.kind === "resnet" ? 2 : 1), 0);
  const costs = stretch.map((step, at) => passCosts(step, shapes[start + at + 1]!));
  // Every pass over a step's bands runs all steps before it again.
  let upToHere = 0;
  let passes = 0;
  for (const { statistics, whole } of costs) {
    passes += statistics.reduce((sum, own) => sum + upToHere + own, 0);
    upToHere += whole;
  }
  const wasted = 1 + (2 * reach) / bandRows;
  const inBands: Option = {
    stretch: { steps: stretch, bandRows },
    bytes: held + BAND_TENSORS * widest * (bandRows + 2 * reach),
    cost: BAND_COST * wasted * (passes + upToHere),
  };
  if (stretch.length > 1) return [inBands];
  return [
    {
      stretch: { steps: stretch },
      bytes: wholeBytes(stretch[0]!, bytesOf(shapes[start]!), bytesOf(shapes[end]!)),
      cost: upToHere,
    },
    inBands,
  ];
}

/** Most bytes that a step on a whole feature map holds at once. */
function wholeBytes({ kind }: DecoderStep, input: number, output: number): number {
  if (kind === "resnet") return input + output + Math.max(input, output);
  // Up-sampling makes all channels of the input four times as large before it convolves them.
  return kind === "upsample" ? 4 * input + Math.max(input, output) : input + output;
}

/** Multiplications of a step, and of each pass that collects statistics for its norms beyond the steps before it. */
function passCosts(step: DecoderStep, output: readonly number[]): { statistics: number[]; whole: number } {
  const pixels = output[0]! * output[2]! * output[3]!;
  const of = ({ weight }: Convolution) => weight.elements * pixels;
  switch (step.kind) {
    case "resnet": {
      const { conv1, conv2, shortcut } = step.resnet;
      return { statistics: [0, of(conv1)], whole: of(conv1) + of(conv2) + (shortcut ? of(shortcut) : 0) };
    }
    case "upsample":
      return { statistics: [], whole: of(step.convolution) };
    case "output":
      return { statistics: [0], whole: of(step.convolution) };
  }
}

function outputShape(step: DecoderStep, [batch = 0, , height = 0, width = 0]: readonly number[]): number[] {
  const convolution = step.kind === "resnet" ? step.resnet.conv2 : step.convolution;
  const scale = step.kind === "upsample" ? 2 : 1;
  return [batch, convolution.weight.shape[0]!, scale * height, scale * width];
}

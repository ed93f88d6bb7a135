import type { DeviceTensor } from "../../../ffi/index.ts";
import type { Convolution, Ops } from "../../nn/index.ts";
import { EPSILON, Feature } from "./feature.ts";
import type { DecoderStep, Norm, Resnet } from "./network.ts";

// Decoding in bands: a band of a step's output is computed from the rows of its input that convolutions reach, so
// borders between bands are the same as rows anywhere else. A group norm needs the statistics of the whole feature map:
// they are collected in a pass over its bands before any band is normalised, so the result is that of the whole picture
// but for rounding. What is not held in memory is computed again in every pass.

/** A feature map of which rows can be asked for. */
interface Rows {
  /** [batch, channels, height, width] of the whole. */
  readonly shape: readonly number[];
  /** Rows from..to-1, [batch, channels, to - from, width]: a temporary that the caller owns and may change. */
  band(from: number, to: number): DeviceTensor;
}

/**
 * Some steps in a row, in bands of `bandRows` rows. Between `x`, which is freed, and the result no feature map is held.
 */
export function runInBands(x: Feature, steps: readonly DecoderStep[], bandRows: number): Feature {
  const { ops } = x;
  using moments = new DisposableStack();
  let rows: Rows = new HeldRows(ops, x.tensor);
  for (const step of steps) rows = moments.use(stepInBands(ops, rows, step, bandRows));
  const out = ops.memory.temporary(rows.shape);
  eachBand(rows, bandRows, (band, from, to) => ops.copy(band, out.slice(2, from, to)));
  x.free();
  return new Feature(ops, out, true);
}

function stepInBands(ops: Ops, input: Rows, step: DecoderStep, bandRows: number): Rows & Disposable {
  switch (step.kind) {
    case "resnet":
      return new ResnetRows(ops, input, step.resnet, bandRows);
    case "upsample":
      return new UpsampledRows(ops, input, step.convolution);
    case "output":
      return new OutputRows(ops, input, step.norm, step.convolution, bandRows);
  }
}

class HeldRows implements Rows {
  readonly #ops: Ops;
  readonly #tensor: DeviceTensor;

  constructor(ops: Ops, tensor: DeviceTensor) {
    this.#ops = ops;
    this.#tensor = tensor;
  }

  get shape(): readonly number[] {
    return this.#tensor.shape;
  }

  band(from: number, to: number): DeviceTensor {
    return copyOf(this.#ops, this.#tensor.slice(2, from, to));
  }
}

/** Twice the height and width, then a convolution. */
class UpsampledRows implements Rows, Disposable {
  readonly shape: readonly number[];
  readonly #ops: Ops;
  readonly #input: Rows;
  readonly #convolution: Convolution;

  constructor(ops: Ops, input: Rows, convolution: Convolution) {
    const [batch = 0, , height = 0, width = 0] = input.shape;
    this.shape = [batch, convolution.weight.shape[0]!, 2 * height, 2 * width];
    this.#ops = ops;
    this.#input = input;
    this.#convolution = convolution;
  }

  band(from: number, to: number): DeviceTensor {
    const reach = new Reach(this.shape, this.#convolution, from, to);
    using x = this.#upsampled(reach);
    return convolve(this.#ops, x, this.#convolution, reach);
  }

  [Symbol.dispose](): void {}

  #upsampled({ from, to }: Reach): DeviceTensor {
    const first = Math.floor(from / 2);
    const last = Math.ceil(to / 2);
    using small = this.#input.band(first, last);
    const [batch = 0, channels = 0, rows = 0, width = 0] = small.shape;
    const large = this.#ops.memory.temporary([batch, channels, 2 * rows, 2 * width]);
    this.#ops.upsampleNearest(small, 2, large);
    if (2 * first === from && 2 * last === to) return large;
    using cut = large;
    return copyOf(this.#ops, cut.slice(2, from - 2 * first, to - 2 * first));
  }
}

class ResnetRows implements Rows, Disposable {
  readonly shape: readonly number[];
  readonly #ops: Ops;
  readonly #input: Rows;
  readonly #resnet: Resnet;
  readonly #moments1: DeviceTensor;
  readonly #moments2: DeviceTensor;

  constructor(ops: Ops, input: Rows, resnet: Resnet, bandRows: number) {
    this.shape = input.shape.with(1, resnet.conv2.weight.shape[0]!);
    this.#ops = ops;
    this.#input = input;
    this.#resnet = resnet;
    this.#moments1 = measure(ops, input, resnet.norm1, bandRows);
    const inner = { shape: this.shape, band: (from: number, to: number) => this.#inner(from, to).y };
    this.#moments2 = measure(ops, inner, resnet.norm2, bandRows);
  }

  band(from: number, to: number): DeviceTensor {
    const ops = this.#ops;
    const { norm2, conv2, shortcut } = this.#resnet;
    const reach = new Reach(this.shape, conv2, from, to);
    const inner = this.#inner(reach.from, reach.to, true);
    using x = inner.x!;
    using y = inner.y;
    normalise(ops, y, norm2, this.#moments2);
    const out = convolve(ops, y, conv2, reach);
    const same = x.slice(2, from - inner.from, to - inner.from);
    if (!shortcut) {
      ops.combine(1, out, 1, same, out);
      return out;
    }
    using copy = copyOf(ops, same);
    using residual = convolve(ops, copy, shortcut, new Reach(this.shape, shortcut, from, to));
    ops.combine(1, out, 1, residual, out);
    return out;
  }

  [Symbol.dispose](): void {
    this.#moments1[Symbol.dispose]();
    this.#moments2[Symbol.dispose]();
  }

  /** Rows of what stands between the two convolutions, and, where it is asked for, of the input from row `from` on. */
  #inner(from: number, to: number, keepsInput = false): { y: DeviceTensor; x?: DeviceTensor; from: number } {
    const ops = this.#ops;
    const { norm1, conv1 } = this.#resnet;
    const reach = new Reach(this.shape, conv1, from, to);
    const x = this.#input.band(reach.from, reach.to);
    using normed = keepsInput ? ops.memory.temporary(x.shape) : x;
    normalise(ops, x, norm1, this.#moments1, normed);
    const y = convolve(ops, normed, conv1, reach);
    return keepsInput ? { y, x, from: reach.from } : { y, from: reach.from };
  }
}

class OutputRows implements Rows, Disposable {
  readonly shape: readonly number[];
  readonly #ops: Ops;
  readonly #input: Rows;
  readonly #norm: Norm;
  readonly #convolution: Convolution;
  readonly #moments: DeviceTensor;

  constructor(ops: Ops, input: Rows, norm: Norm, convolution: Convolution, bandRows: number) {
    this.shape = input.shape.with(1, convolution.weight.shape[0]!);
    this.#ops = ops;
    this.#input = input;
    this.#norm = norm;
    this.#convolution = convolution;
    this.#moments = measure(ops, input, norm, bandRows);
  }

  band(from: number, to: number): DeviceTensor {
    const reach = new Reach(this.shape, this.#convolution, from, to);
    using x = this.#input.band(reach.from, reach.to);
    normalise(this.#ops, x, this.#norm, this.#moments);
    return convolve(this.#ops, x, this.#convolution, reach);
  }

  [Symbol.dispose](): void {
    this.#moments[Symbol.dispose]();
  }
}

/** The input rows that a convolution of the same size needs for output rows, and the zeros it adds outside. */
class Reach {
  readonly from: number;
  readonly to: number;
  readonly pad: {
    readonly top: number;
    readonly bottom: number;
    readonly left: number;
    readonly right: number;
  };

  constructor([, , height = 0]: readonly number[], { weight }: Convolution, from: number, to: number) {
    const side = ((weight.shape[2] ?? 1) - 1) / 2;
    this.from = Math.max(0, from - side);
    this.to = Math.min(height, to + side);
    this.pad = { top: this.from - (from - side), bottom: to + side - this.to, left: side, right: side };
  }
}

function convolve(ops: Ops, x: DeviceTensor, layer: Convolution, { pad }: Reach): DeviceTensor {
  const [batch = 0, , rows = 0, width = 0] = x.shape;
  const kernel = layer.weight.shape[2] ?? 1;
  const height = rows + pad.top + pad.bottom - (kernel - 1);
  const out = ops.memory.temporary([batch, layer.weight.shape[0]!, height, width]);
  ops.conv2d(x, layer, out, { pad });
  return out;
}

function normalise(
  ops: Ops,
  x: DeviceTensor,
  { groups, weights }: Norm,
  moments: DeviceTensor,
  out = x,
): void {
  ops.groupNorm(x, groups, weights, EPSILON, out, { activation: "silu", moments });
}

/** A feature map's statistics for a group norm, F32 [batch, groups, 3], in one pass over its bands. */
function measure(ops: Ops, rows: Rows, { groups }: Norm, bandRows: number): DeviceTensor {
  const moments = ops.memory.temporary([rows.shape[0]!, groups, 3], "f32");
  ops.fill(moments, 0);
  eachBand(rows, bandRows, (band) => ops.groupMoments(band, groups, moments));
  return moments;
}

function eachBand(
  rows: Rows,
  bandRows: number,
  visit: (band: DeviceTensor, from: number, to: number) => void,
): void {
  const height = rows.shape[2] ?? 0;
  for (let from = 0; from < height; from += bandRows) {
    const to = Math.min(height, from + bandRows);
    using band = rows.band(from, to);
    visit(band, from, to);
  }
}

function copyOf(ops: Ops, view: DeviceTensor): DeviceTensor {
  const copy = ops.memory.temporary(view.shape, view.dtype);
  ops.copy(view, copy);
  return copy;
}

import type { DeviceTensor, DType } from "../../../ffi/index.ts";
import type { Convolution, Ops } from "../../nn/index.ts";
import type { DecoderStep, Middle, Norm, PixelAttention, Resnet } from "./network.ts";

export const EPSILON = 1e-6;

/** A feature map [batch, channels, height, width] on its way: each operation returns the next and frees its own. */
export class Feature {
  readonly ops: Ops;
  readonly tensor: DeviceTensor;
  /** The caller's input is read, never freed. */
  readonly #isOwned: boolean;

  constructor(ops: Ops, tensor: DeviceTensor, isOwned = false) {
    this.ops = ops;
    this.tensor = tensor;
    this.#isOwned = isOwned;
  }

  /** In another dtype; itself where it has that already. */
  as(dtype: DType): Feature {
    if (this.tensor.dtype === dtype) return this;
    return this.#next(this.tensor.shape, (out) => this.ops.copy(this.tensor, out), dtype);
  }

  /** Same size out, zeros around. */
  convolve(layer: Convolution): Feature {
    const [batch = 0, , height = 0, width = 0] = this.tensor.shape;
    const [channels = 0, , kernel = 1] = layer.weight.shape;
    return this.#next([batch, channels, height, width], (out) =>
      this.ops.conv2d(this.tensor, layer, out, { pad: (kernel - 1) / 2 }),
    );
  }

  /** Half the size; zeros are added at the bottom and right only. */
  downsample(layer: Convolution): Feature {
    const [batch = 0, channels = 0, height = 0, width = 0] = this.tensor.shape;
    const size = (side: number) => Math.floor((side - 2) / 2) + 1;
    return this.#next([batch, channels, size(height), size(width)], (out) =>
      this.ops.conv2d(this.tensor, layer, out, { stride: 2, pad: { top: 0, bottom: 1, left: 0, right: 1 } }),
    );
  }

  upsample(): Feature {
    const [batch = 0, channels = 0, height = 0, width = 0] = this.tensor.shape;
    return this.#next([batch, channels, 2 * height, 2 * width], (out) =>
      this.ops.upsampleNearest(this.tensor, 2, out),
    );
  }

  /** Group norm and SiLU, in place where the feature map is its own. */
  normalise({ groups, weights }: Norm): Feature {
    const run = (out: DeviceTensor) =>
      this.ops.groupNorm(this.tensor, groups, weights, EPSILON, out, { activation: "silu" });
    if (!this.#isOwned) return this.#next(this.tensor.shape, run);
    run(this.tensor);
    return this;
  }

  /** Adds another feature map of the same shape, in place; frees it. */
  add(other: Feature): Feature {
    this.ops.combine(1, this.tensor, 1, other.tensor, this.tensor);
    other.free();
    return this;
  }

  /** A view that shares the tensor without owning it. */
  borrowed(): Feature {
    return new Feature(this.ops, this.tensor);
  }

  free(): void {
    if (this.#isOwned) this.tensor[Symbol.dispose]();
  }

  #next(shape: readonly number[], run: (out: DeviceTensor) => void, dtype?: DType): Feature {
    const out = this.ops.memory.temporary(shape, dtype);
    run(out);
    this.free();
    return new Feature(this.ops, out, true);
  }
}

export function runResnet(x: Feature, resnet: Resnet): Feature {
  const change = x
    .borrowed()
    .normalise(resnet.norm1)
    .convolve(resnet.conv1)
    .normalise(resnet.norm2)
    .convolve(resnet.conv2);
  return change.add(resnet.shortcut ? x.convolve(resnet.shortcut) : x);
}

export function runMiddle(x: Feature, { first, attention, second }: Middle): Feature {
  const before = runResnet(x, first);
  return runResnet(attention ? runAttention(before, attention) : before, second);
}

function runAttention(x: Feature, layer: PixelAttention): Feature {
  const { ops } = x;
  const [batch = 0, channels = 0, height = 0, width = 0] = x.tensor.shape;
  const pixels = height * width;
  const rows = [batch, pixels, channels];
  using tokens = ops.memory.temporary(rows);
  {
    using normed = ops.memory.temporary(x.tensor.shape);
    ops.groupNorm(x.tensor, layer.norm.groups, layer.norm.weights, EPSILON, normed);
    ops.copy(normed.reshape(batch, channels, pixels).permute(0, 2, 1), tokens);
  }
  using q = ops.memory.temporary(rows);
  using k = ops.memory.temporary(rows);
  using v = ops.memory.temporary(rows);
  ops.linear(tokens, layer.q, q);
  ops.linear(tokens, layer.k, k);
  ops.linear(tokens, layer.v, v);
  const oneHead = (tensor: DeviceTensor) => tensor.reshape(batch, 1, pixels, channels);
  ops.attention({ q: oneHead(q), k: oneHead(k), v: oneHead(v) }, oneHead(tokens), {
    scale: channels ** -0.5,
  });
  ops.linear(tokens, layer.out, q);
  const change = ops.memory.temporary(x.tensor.shape);
  ops.copy(q.permute(0, 2, 1), change.reshape(batch, channels, pixels));
  return new Feature(ops, change, true).add(x);
}

/** One step of the decoder's growing part, on the whole feature map. */
export function runStep(x: Feature, step: DecoderStep): Feature {
  switch (step.kind) {
    case "resnet":
      return runResnet(x, step.resnet);
    case "upsample":
      return x.upsample().convolve(step.convolution);
    case "output":
      return x.normalise(step.norm).convolve(step.convolution);
  }
}

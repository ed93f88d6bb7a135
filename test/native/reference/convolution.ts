import { Values } from "../support.ts";
import { activate } from "./activation.ts";
import { moments } from "./norms.ts";

export interface Padding {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

/** Cross-correlation of x [batch, channels, height, width] with weight [out, channels, kh, kw], zeros outside. */
export function conv2d(
  x: Values,
  weight: Values,
  bias: Values | undefined,
  stride: number,
  pad: Padding,
): Values {
  const [height, width] = [x.size(2), x.size(3)];
  const [kernelHeight, kernelWidth] = [weight.size(2), weight.size(3)];
  const outHeight = Math.floor((height + pad.top + pad.bottom - kernelHeight) / stride) + 1;
  const outWidth = Math.floor((width + pad.left + pad.right - kernelWidth) / stride) + 1;
  return Values.build(
    [x.size(0), weight.size(0), outHeight, outWidth],
    (batch = 0, out = 0, row = 0, column = 0) => {
      let sum = bias?.at(out) ?? 0;
      for (let channel = 0; channel < x.size(1); channel++)
        for (let i = 0; i < kernelHeight; i++)
          for (let j = 0; j < kernelWidth; j++) {
            const y = row * stride + i - pad.top;
            const z = column * stride + j - pad.left;
            if (y >= 0 && y < height && z >= 0 && z < width)
              sum += x.at(batch, channel, y, z) * weight.at(out, channel, i, j);
          }
      return sum;
    },
  );
}

/** Normalises the values of each group of neighbouring channels together. */
export function groupNorm(
  x: Values,
  groups: number,
  epsilon: number,
  {
    weight,
    bias,
    activation = 0,
  }: { weight?: Values | undefined; bias?: Values | undefined; activation?: number },
): Values {
  const [batches, channels] = [x.size(0), x.size(1)];
  const pixels = x.size(2) * x.size(3);
  const perGroup = (channels / groups) * pixels;
  const out = new Values(x.shape);
  for (let part = 0; part < batches * groups; part++) {
    const values = x.data.subarray(part * perGroup, (part + 1) * perGroup);
    const { mean, variance } = moments(values);
    values.forEach((value, i) => {
      const at = part * perGroup + i;
      const channel = Math.floor(at / pixels) % channels;
      const normal = (value - mean) / Math.sqrt(variance + epsilon);
      out.data[at] = activate(activation, normal * (weight?.at(channel) ?? 1) + (bias?.at(channel) ?? 0));
    });
  }
  return out;
}

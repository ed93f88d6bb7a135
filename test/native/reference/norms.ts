import { Values } from "../support.ts";

export interface LayerNormParameters {
  readonly weight?: Values | undefined;
  readonly bias?: Values | undefined;
  readonly scale?: Values | undefined;
  readonly shift?: Values | undefined;
}

/** Layer norm of x [batch, tokens, d], its affine parameters [d], then the modulation [batch, d]. */
export function layerNorm(
  x: Values,
  epsilon: number,
  { weight, bias, scale, shift }: LayerNormParameters,
): Values {
  const out = new Values(x.shape);
  for (let batch = 0; batch < x.size(0); batch++)
    for (let token = 0; token < x.size(1); token++) {
      const row = x.row(batch, token);
      const { mean, variance } = moments(row);
      const into = out.row(batch, token);
      for (let i = 0; i < row.length; i++) {
        const normal = ((row[i] ?? NaN) - mean) / Math.sqrt(variance + epsilon);
        const affine = normal * (weight?.at(i) ?? 1) + (bias?.at(i) ?? 0);
        into[i] = affine * (1 + (scale?.at(batch, i) ?? 0)) + (shift?.at(batch, i) ?? 0);
      }
    }
  return out;
}

/** x / sqrt(mean(x^2) + epsilon) * weight over the last dimension. */
export function rmsNorm(x: Values, epsilon: number, weight?: Values): Values {
  const width = x.size(-1);
  const rows = x.reshape(x.data.length / width, width);
  const out = new Values(rows.shape);
  for (let row = 0; row < rows.size(0); row++) {
    const from = rows.row(row);
    const scale = 1 / Math.sqrt(from.reduce((sum, value) => sum + value * value, 0) / width + epsilon);
    from.forEach((value, i) => out.set(value * scale * (weight?.at(i) ?? 1), row, i));
  }
  return out.reshape(...x.shape);
}

export function moments(values: Float64Array): { mean: number; variance: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, variance };
}

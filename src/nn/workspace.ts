import { type Backend, DeviceTensor } from "../../ffi/index.ts";
import type { SymbolName } from "../../ffi/symbols.ts";

const MEBIBYTE = 2 ** 20;

/** What a backend's convolutions work in: copies of a band of rows in its own layout, of about so many bytes. */
const bands = {
  cpu: { bytes: 32 * MEBIBYTE, channels: 16, elementBytes: 4, libraryBytes: 0 },
  cuda: { bytes: 48 * MEBIBYTE, channels: 8, elementBytes: 2, libraryBytes: 32 * MEBIBYTE },
} as const;

/** Scratch memory of everything else is small, and does not grow with the picture. */
const others = { cpu: 2 * MEBIBYTE, cuda: 64 * MEBIBYTE } as const;

/**
 * An estimate, rather too high, of the workspace that an op asks its stream for; the libraries know it only when they
 * are given tensors.
 */
export function workspaceBytes(backend: Backend, name: SymbolName, args: readonly unknown[]): number {
  if (name !== "tamias_conv2d") return others[backend];
  const [x, weight, , stride, , , , , out] = args;
  if (!(x instanceof DeviceTensor && weight instanceof DeviceTensor && out instanceof DeviceTensor))
    return others[backend];
  const { bytes, channels, elementBytes, libraryBytes } = bands[backend];
  const padded = (count: number) => Math.ceil(count / channels) * channels;
  const [batch = 0, inputs = 0, , inWidth = 0] = x.shape;
  const [, outputs = 0, rows = 0, width = 0] = out.shape;
  const kernel = weight.shape[2] ?? 1;
  const inRow = batch * padded(inputs) * (inWidth + kernel) * elementBytes;
  const outRow = batch * padded(outputs) * width * elementBytes;
  const bandRows = Math.min(
    rows,
    Math.ceil(bytes / (batch * (Number(stride) * inputs * inWidth + outputs * width) * elementBytes)),
  );
  const weights = padded(inputs) * padded(outputs) * kernel ** 2 * elementBytes;
  return (
    bandRows * (Number(stride) * inRow + outRow) + kernel * inRow + weights + libraryBytes + others[backend]
  );
}

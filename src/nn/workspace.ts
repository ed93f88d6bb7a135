import type { Backend, OpArguments } from "../../ffi/index.ts";
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
export function workspaceBytes(backend: Backend, name: SymbolName, args: OpArguments): number {
  if (name !== "tamias_conv2d") return others[backend];
  const [batch = 0, inputs = 0, , inWidth = 0] = args.shape(0);
  const [, , kernel = 1] = args.shape(1);
  const stride = args.number(3);
  const [, outputs = 0, rows = 0, width = 0] = args.shape(8);
  const { bytes, channels, elementBytes, libraryBytes } = bands[backend];
  const padded = (count: number) => Math.ceil(count / channels) * channels;
  const inRow = batch * padded(inputs) * (inWidth + kernel) * elementBytes;
  const outRow = batch * padded(outputs) * width * elementBytes;
  const bandRows = Math.min(
    rows,
    Math.ceil(bytes / (batch * (stride * inputs * inWidth + outputs * width) * elementBytes)),
  );
  const weights = padded(inputs) * padded(outputs) * kernel ** 2 * elementBytes;
  return bandRows * (stride * inRow + outRow) + kernel * inRow + weights + libraryBytes + others[backend];
}

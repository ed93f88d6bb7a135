import { type DeviceTensor, TamiasError } from "../../ffi/index.ts";
import { hostValues, type Ops, relativeError } from "../nn/index.ts";
import type { Golden, GoldenTensor } from "./shared/golden.ts";

/** One part of a model, ready to be run on its reference inputs. */
export interface GoldenPart {
  readonly part: string;
  isIn(golden: Golden): boolean;
  /** Runs the part and returns the relative L2 error of each of its outputs. */
  measure(ops: Ops, folder: string, golden: Golden): Promise<readonly OutputError[]>;
}

export interface OutputError {
  readonly output: string;
  /** ‖ours - reference‖ / ‖reference‖ */
  readonly error: number;
}

/** A reference tensor on the device. */
export function upload(ops: Ops, { shape, values }: GoldenTensor, dtype = ops.activationType): DeviceTensor {
  const wide = ops.memory.temporary(shape, "f32");
  ops.stream.write(wide, values);
  if (dtype === "f32") return wide;
  using source = wide;
  const tensor = ops.memory.temporary(shape, dtype);
  ops.copy(source, tensor);
  return tensor;
}

/** @throws TamiasError `bad_weights` when the shapes differ */
export function compare(ops: Ops, ours: DeviceTensor, expected: GoldenTensor): OutputError {
  if (ours.shape.join() !== expected.shape.join())
    throw new TamiasError(
      "bad_weights",
      `The reference "${expected.name}" is [${expected.shape.join(", ")}], this model makes [${ours.shape.join(", ")}].`,
    );
  return { output: expected.name, error: errorOf(hostValues(ops, ours), expected) };
}

/** Relative L2 error; infinite where sizes differ. */
export function errorOf(ours: ArrayLike<number>, { values }: GoldenTensor): number {
  return ours.length === values.length ? relativeError(ours, values) : Number.POSITIVE_INFINITY;
}

/** One item along the first dimension. */
export function itemOf({ name, shape, values }: GoldenTensor, index: number): GoldenTensor {
  const size = values.length / (shape[0] ?? 1);
  return {
    name: `${name}[${index}]`,
    shape: shape.slice(1),
    values: values.subarray(index * size, (index + 1) * size),
  };
}

import { type DType, type DeviceTensor, dtypes, TamiasError } from "../../ffi/index.ts";
import { elementCount } from "../../ffi/tensor.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import type { TensorEntry } from "../weights/safetensors.ts";
import type { Ops } from "./ops.ts";
import type { ParameterSource } from "./parameters.ts";

/** How a checkpoint's dtype names appear in the ABI. */
const fileTypes: Record<string, DType> = {
  F32: "f32",
  BF16: "bf16",
  F16: "f16",
  I8: "i8",
  F8_E4M3: "f8_e4m3",
};

/**
 * Parameters from a checkpoint. Files are read by path and offset inside the native library; 8-bit weights are widened
 * and multiplied by their row scales while loading.
 */
export function checkpointParameters(checkpoint: Checkpoint): ParameterSource {
  return {
    has: (name) => checkpoint.has(name),
    fill(ops, name, out) {
      const entry = checkpoint.get(name);
      if (entry.shape.join() !== out.shape.join())
        throw new TamiasError(
          "bad_weights",
          `${entry.path}: ${name} has shape [${entry.shape.join(", ")}], this network needs [${out.shape.join(", ")}].`,
        );
      const scale = checkpoint.scaleOf(name);
      if (scale) loadScaled(ops, entry, scale, out);
      else load(ops, entry, out);
    },
  };
}

function load(ops: Ops, entry: TensorEntry, out: DeviceTensor): void {
  const type = fileTypes[entry.dtype];
  if (!type)
    throw new TamiasError(
      "bad_weights",
      `${entry.path}: ${entry.name} is ${entry.dtype}, which is no weight format.`,
    );
  const path = new TextEncoder().encode(`${entry.path}\0`);
  ops.stream.queue("tamias_tensor_load", path, entry.byteOffset, dtypes[type].code, out);
}

/** value = stored * scale[row]; rows are the first dimension. */
function loadScaled(ops: Ops, entry: TensorEntry, scaleEntry: TensorEntry, out: DeviceTensor): void {
  const rows = entry.shape[0] ?? 1;
  const scales = elementCount(scaleEntry.shape);
  using scale = ops.memory.temporary([scales], "f32");
  load(ops, scaleEntry, scale);
  using wide = ops.memory.temporary([rows, out.elements / rows], "f32");
  load(ops, entry, wide);
  ops.stream.queue("tamias_scale_rows", wide, scale);
  ops.copy(wide, out.reshape(...wide.shape));
}

import type { DeviceTensor, Stream } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";

/** Queues the sum of a tensor's magnitudes, which tells whether all of its values are numbers; F32 [2], a temporary. */
export function normsOf(ops: Ops, tensor: DeviceTensor): DeviceTensor {
  const norms = ops.memory.temporary([2], "f32");
  ops.changeNorms(tensor, null, norms);
  return norms;
}

/** Whether what `normsOf` summed holds neither NaN nor infinity. Waits for `reader`'s work. */
export function isFinite(reader: Stream, norms: DeviceTensor): boolean {
  const [sum = Number.NaN] = reader.read(norms, new Float32Array(2));
  return Number.isFinite(sum);
}

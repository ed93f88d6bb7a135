import type { DeviceTensor } from "../../ffi/index.ts";
import type { Ops } from "./ops.ts";

/** Elements of a tensor (any strides and floating dtype) as float32 on the host. Waits for the stream. */
export function hostValues(ops: Ops, tensor: DeviceTensor): Float32Array {
  using plain = ops.memory.temporary(tensor.shape, "f32");
  ops.copy(tensor, plain);
  return ops.stream.read(plain, new Float32Array(plain.elements));
}

/** ‖ours - reference‖ / ‖reference‖: 0 for equal values, infinite where only the reference is zero. */
export function relativeError(ours: ArrayLike<number>, reference: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let at = 0; at < reference.length; at++) {
    difference += (ours[at]! - reference[at]!) ** 2;
    norm += reference[at]! ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}

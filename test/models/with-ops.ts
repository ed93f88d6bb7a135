import { fileURLToPath } from "node:url";
import { Device, type DeviceTensor } from "../../ffi/index.ts";
import { Ops } from "../../src/nn/index.ts";

export const tinyFlux = fileURLToPath(new URL("../goldens/flux-tiny", import.meta.url));
export const acornImage = fileURLToPath(new URL("../../models/acorn-image", import.meta.url));

/** Runs a test on the CPU and sees that it leaves no device memory behind. */
export async function withOps(body: (ops: Ops) => Promise<void> | void): Promise<void> {
  using device = await Device.open({ backend: "cpu", threads: 2 });
  {
    using stream = device.createStream();
    using ops = new Ops(stream);
    await body(ops);
    const { bytesInUse } = ops.memory;
    if (bytesInUse !== 0) throw new Error(`${bytesInUse} bytes of tensors were not disposed`);
  }
  const { bytesAllocated } = device.info();
  if (bytesAllocated !== 0) throw new Error(`${bytesAllocated} bytes of device memory were not freed`);
}

export function upload(ops: Ops, shape: readonly number[], values: Float32Array): DeviceTensor {
  const tensor = ops.memory.temporary(shape, "f32");
  ops.stream.write(tensor, values);
  return tensor;
}

export function download(ops: Ops, tensor: DeviceTensor): Float32Array {
  return ops.stream.read(tensor, new Float32Array(tensor.elements));
}

/** ‖a - b‖ / ‖b‖ */
export function relativeError(a: Float32Array, b: Float32Array): number {
  const norm = (values: Float32Array) => Math.hypot(...values);
  return norm(a.map((value, at) => value - b[at]!)) / norm(b);
}

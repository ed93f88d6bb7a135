import { TamiasError } from "../../ffi/errors.ts";
import { toFloat32 } from "./dtype.ts";
import { readFileRange } from "./read-file-range.ts";
import type { TensorEntry } from "./safetensors.ts";

/** Larger tensors go to the device by path and offset, never through JavaScript memory. */
const maxHostReadBytes = 2 ** 30;

/**
 * The raw little-endian bytes of a small tensor.
 * @throws TamiasError `unsupported` above 1 GiB, `io` when the file cannot be read
 */
export async function readTensorBytes(entry: TensorEntry): Promise<Uint8Array> {
  if (entry.byteLength > maxHostReadBytes) {
    throw new TamiasError("unsupported", `Tensor "${entry.name}" is too large to be read into host memory.`);
  }
  return readFileRange(entry.path, entry.byteOffset, entry.byteLength);
}

/**
 * A small tensor as float32, row-major. Types that are not floating point are converted too; 64-bit values
 * and integers beyond 2^24 are rounded. 8-bit weights come without their scale.
 * @throws TamiasError `unsupported` for other types or above 1 GiB, `io` when the file cannot be read
 */
export async function readTensorFloat32(entry: TensorEntry): Promise<Float32Array> {
  return toFloat32(entry.dtype, await readTensorBytes(entry));
}

/**
 * A small I32 or I64 tensor (token ids, for example) as int32.
 * @throws TamiasError `bad_weights` for another type or a value outside int32, `io` when it cannot be read
 */
export async function readTensorInt32(entry: TensorEntry): Promise<Int32Array> {
  const bytes = await readTensorBytes(entry);
  const aligned = bytes.slice().buffer;
  if (entry.dtype === "I32") return new Int32Array(aligned);
  if (entry.dtype !== "I64") {
    throw new TamiasError("bad_weights", `Tensor "${entry.name}" holds ${entry.dtype}, not integers.`);
  }
  return Int32Array.from(new BigInt64Array(aligned), (value) => {
    if (BigInt.asIntN(32, value) !== value) {
      throw new TamiasError(
        "bad_weights",
        `Tensor "${entry.name}" holds ${value}, which is no 32-bit integer.`,
      );
    }
    return Number(value);
  });
}

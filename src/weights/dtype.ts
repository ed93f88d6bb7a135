import { TamiasError } from "../../ffi/errors.ts";

/** Bytes of one element of each tensor type that a safetensors file may hold. */
export const dtypeBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

/** The element type of a stored tensor, by its safetensors name. */
export type Dtype = keyof typeof dtypeBytes;

export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(dtypeBytes, name);
}

/**
 * Widens stored elements to float32. 64-bit values and integers beyond 2^24 are rounded.
 * @param bytes little-endian elements; its length is a multiple of the element size
 * @throws TamiasError `unsupported` for a type without a conversion
 */
export function toFloat32(dtype: Dtype, bytes: Uint8Array): Float32Array {
  // A fresh buffer, because a typed array must start at a multiple of its element size.
  const aligned = bytes.slice().buffer;
  switch (dtype) {
    case "F32":
      return new Float32Array(aligned);
    case "F16":
      return Float32Array.from(new Float16Array(aligned));
    case "BF16":
      return bfloat16ToFloat32(new Uint16Array(aligned));
    case "F64":
      return Float32Array.from(new Float64Array(aligned));
    case "I8":
      return Float32Array.from(new Int8Array(aligned));
    case "U8":
    case "BOOL":
      return Float32Array.from(new Uint8Array(aligned));
    case "I16":
      return Float32Array.from(new Int16Array(aligned));
    case "I32":
      return Float32Array.from(new Int32Array(aligned));
    case "I64":
      return Float32Array.from(new BigInt64Array(aligned), Number);
    case "F8_E4M3":
      return Float32Array.from(new Uint8Array(aligned), float8E4M3ToNumber);
    default:
      throw new TamiasError("unsupported", `Tensors of type ${dtype} cannot be converted to float32.`);
  }
}

/** Rounds float32 values to bfloat16 (ties to even), as raw 16-bit words. NaN stays NaN. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(words, (word) => {
    const isNaN = (word & 0x7fffffff) > 0x7f800000;
    return isNaN ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  });
}

function bfloat16ToFloat32(words: Uint16Array): Float32Array {
  const result = new Uint32Array(words.length);
  for (let i = 0; i < words.length; i++) result[i] = words[i]! << 16;
  return new Float32Array(result.buffer);
}

/** 4 exponent bits with bias 7, 3 mantissa bits, no infinities; 0x7f and 0xff are NaN. */
function float8E4M3ToNumber(byte: number): number {
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte >> 3) & 15;
  const mantissa = byte & 7;
  if (exponent === 15 && mantissa === 7) return Number.NaN;
  return exponent === 0 ? (sign * mantissa) / 512 : sign * (1 + mantissa / 8) * 2 ** (exponent - 7);
}

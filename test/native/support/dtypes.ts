import type { DeviceTensor, DType, Stream } from "../../../ffi/index.ts";
import { Values } from "./values.ts";

/** Elements of a tensor as they lie in memory. */
export type Storage = Float32Array | Uint16Array | Int8Array | Uint8Array | Int32Array;

/** How a number is stored as each dtype, and read back. */
interface Codec {
  readonly allocate: (length: number) => Storage;
  readonly encode: (value: number) => number;
  readonly decode: (bits: number) => number;
}

const same = (value: number) => value;

function encodeBf16(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, value);
  const word = bits.getUint32(0);
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

function decodeBf16(code: number): number {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setUint32(0, code << 16);
  return bits.getFloat32(0);
}

function encodeF16(value: number): number {
  const bits = new DataView(new ArrayBuffer(2));
  bits.setFloat16(0, value);
  return bits.getUint16(0);
}

function decodeF16(code: number): number {
  const bits = new DataView(new ArrayBuffer(2));
  bits.setUint16(0, code);
  return bits.getFloat16(0);
}

/** 1 sign, 4 exponent bits (bias 7), 3 mantissa bits; no infinities, 0x7f and 0xff are NaN. */
function decodeF8(code: number): number {
  const sign = code & 0x80 ? -1 : 1;
  const exponent = (code >> 3) & 15;
  const mantissa = code & 7;
  if (exponent === 15 && mantissa === 7) return NaN;
  return sign * (exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10));
}

/** Nearest, ties to even, saturated at 448. */
function encodeF8(value: number): number {
  if (Number.isNaN(value)) return 0x7f;
  const sign = value < 0 || Object.is(value, -0) ? 0x80 : 0;
  const magnitude = Math.min(448, Math.abs(value));
  const exponent = Math.max(-6, Math.floor(Math.log2(magnitude)));
  const steps = roundToEven(magnitude / 2 ** (exponent - 3));
  // A mantissa that rounds up to 16 carries into the exponent by itself.
  return sign | Math.min(0x7e, steps < 8 ? steps : ((exponent + 7) << 3) + steps - 8);
}

function roundToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

const codecs: Record<DType, Codec> = {
  f32: { allocate: (length) => new Float32Array(length), encode: same, decode: same },
  bf16: { allocate: (length) => new Uint16Array(length), encode: encodeBf16, decode: decodeBf16 },
  f16: { allocate: (length) => new Uint16Array(length), encode: encodeF16, decode: decodeF16 },
  i8: { allocate: (length) => new Int8Array(length), encode: same, decode: same },
  f8_e4m3: { allocate: (length) => new Uint8Array(length), encode: encodeF8, decode: decodeF8 },
  i32: { allocate: (length) => new Int32Array(length), encode: same, decode: same },
  u16: { allocate: (length) => new Uint16Array(length), encode: same, decode: same },
  u8: { allocate: (length) => new Uint8Array(length), encode: same, decode: same },
};

export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "bf16" || dtype === "f16" || dtype === "f8_e4m3";
}

/** Storage filled with what no result should be: NaN, or 0x7f in every byte of an integer. */
export function poisoned(dtype: DType, length: number): Storage {
  const storage = codecs[dtype].allocate(length);
  if (isFloat(dtype)) return storage.fill(codecs[dtype].encode(NaN));
  new Uint8Array(storage.buffer).fill(0x7f);
  return storage;
}

export function storeAt(dtype: DType, storage: Storage, index: number, value: number): void {
  storage[index] = codecs[dtype].encode(value);
}

export function loadAt(dtype: DType, storage: Storage, index: number): number {
  return codecs[dtype].decode(storage[index] ?? NaN);
}

/** What is left of a value that was stored as `dtype`. */
export function stored(dtype: DType, value: number): number {
  const one = codecs[dtype].allocate(1);
  storeAt(dtype, one, 0, value);
  return loadAt(dtype, one, 0);
}

/** Contiguous elements of `dtype`. */
export function encoded(dtype: DType, values: ArrayLike<number>): Storage {
  const storage = codecs[dtype].allocate(values.length);
  for (let index = 0; index < values.length; index++) storeAt(dtype, storage, index, values[index] ?? NaN);
  return storage;
}

/** The values of a contiguous tensor. */
export function readTensor(stream: Stream, tensor: DeviceTensor): Values {
  const storage = stream.read(tensor, codecs[tensor.dtype].allocate(tensor.elements));
  return new Values(tensor.shape).map((_, at) => loadAt(tensor.dtype, storage, at));
}

/** Whether two elements have the same bits (a NaN equals itself). */
export function sameBits(a: Storage, b: Storage, index: number): boolean {
  return Object.is(a[index], b[index]);
}

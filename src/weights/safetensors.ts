import { z } from "zod";
import { TamiasError } from "../../ffi/errors.ts";
import { type Dtype, dtypeBytes, isDtype } from "./dtype.ts";
import { isJsonObject, type JsonObject } from "./json-file.ts";
import { readFileRange } from "./read-file-range.ts";
import { statFile } from "./stat-file.ts";

/** Where one tensor lies: enough for native code to read it by itself. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  /** Row-major; empty for a scalar. */
  readonly shape: readonly number[];
  readonly path: string;
  /** From the start of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** The free text that the writer left in `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
}

const lengthFieldBytes = 8;
const maxHeaderBytes = 100_000_000;

const count = z.int().nonnegative();
const tensorSchema = z.object({
  dtype: z.string(),
  shape: z.array(count),
  data_offsets: z.tuple([count, count]),
});
const metadataSchema = z.record(z.string(), z.string());

/**
 * Reads and checks the header of a safetensors file; tensor data is not touched.
 *
 * The file is trusted in nothing: every tensor must have a known type, a size that follows from its shape,
 * and a place of its own; together they must fill the file to its last byte.
 * @throws TamiasError `not_found`, `io`, or `bad_weights` saying which tensor or field is wrong
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  const { byteLength: fileBytes } = await statFile(path);
  const headerBytes = await readHeaderLength(path, fileBytes);
  const header = parseHeader(path, await readFileRange(path, lengthFieldBytes, headerBytes));
  const dataStart = lengthFieldBytes + headerBytes;

  const tensors = new Map<string, TensorEntry>();
  let metadata: Readonly<Record<string, string>> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") metadata = parseMetadata(path, value);
    else tensors.set(name, parseEntry(path, name, value, dataStart));
  }
  checkLayout(path, [...tensors.values()], dataStart, fileBytes);
  return { path, tensors, metadata };
}

/** `bad_weights` about one file, in one sentence that begins with its path. */
function damaged(path: string, problem: string, cause?: unknown): TamiasError {
  return new TamiasError("bad_weights", `${path} is not a sound safetensors file: ${problem}.`, { cause });
}

async function readHeaderLength(path: string, fileBytes: number): Promise<number> {
  if (fileBytes < lengthFieldBytes) throw damaged(path, `it has only ${fileBytes} bytes`);
  const field = await readFileRange(path, 0, lengthFieldBytes);
  const length = new DataView(field.buffer, field.byteOffset, field.byteLength).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    throw damaged(path, `its header claims ${length} bytes, more than the ${maxHeaderBytes} allowed`);
  }
  const available = fileBytes - lengthFieldBytes;
  if (length > BigInt(available)) {
    throw damaged(path, `its header claims ${length} bytes, but only ${available} follow (truncated?)`);
  }
  return Number(length);
}

function parseHeader(path: string, bytes: Uint8Array): JsonObject {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (cause) {
    throw damaged(path, "its header is not valid JSON", cause);
  }
  if (!isJsonObject(header)) throw damaged(path, "its header is not a JSON object");
  // JSON.parse keeps the last of several equal keys without a word.
  if (countColons(text) !== countKeys(header)) throw damaged(path, "its header names something twice");
  return header;
}

/** The colons of a valid JSON text that lie outside strings: one for each key written. */
function countColons(json: string): number {
  let colons = 0;
  let insideString = false;
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (insideString && character === "\\") i++;
    else if (character === '"') insideString = !insideString;
    else if (character === ":" && !insideString) colons++;
  }
  return colons;
}

function countKeys(value: unknown): number {
  if (Array.isArray(value)) return value.reduce((sum: number, item) => sum + countKeys(item), 0);
  if (!isJsonObject(value)) return 0;
  return Object.values(value).reduce((sum: number, item) => sum + 1 + countKeys(item), 0);
}

function parseMetadata(path: string, value: unknown): Readonly<Record<string, string>> {
  const result = metadataSchema.safeParse(value);
  if (!result.success) throw damaged(path, "its __metadata__ is not a map of texts", result.error);
  return result.data;
}

function parseEntry(path: string, name: string, value: unknown, dataStart: number): TensorEntry {
  const result = tensorSchema.safeParse(value);
  if (!result.success) {
    const field = result.error.issues[0]?.path.join(".");
    throw damaged(path, `tensor "${name}" has a wrong entry${field ? ` in "${field}"` : ""}`, result.error);
  }
  const { dtype, shape, data_offsets } = result.data;
  if (!isDtype(dtype)) throw damaged(path, `tensor "${name}" has the unknown type "${dtype}"`);
  const [begin, end] = data_offsets;
  if (end < begin) throw damaged(path, `tensor "${name}" ends before it begins (${begin} to ${end})`);
  const expected = shape.reduce((product, extent) => product * extent, dtypeBytes[dtype]);
  if (end - begin !== expected) {
    throw damaged(
      path,
      `tensor "${name}" takes ${end - begin} bytes, but ${dtype} [${shape.join(", ")}] needs ${expected}`,
    );
  }
  return { name, dtype, shape, path, byteOffset: dataStart + begin, byteLength: end - begin };
}

/** Tensors must lie side by side, without overlap or gap, from the header to the end of the file. */
function checkLayout(
  path: string,
  tensors: readonly TensorEntry[],
  dataStart: number,
  fileBytes: number,
): void {
  const inOrder = tensors.toSorted((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = dataStart;
  for (const { name, byteOffset, byteLength } of inOrder) {
    if (byteOffset + byteLength > fileBytes) {
      throw damaged(path, `tensor "${name}" reaches beyond the end of the file (truncated?)`);
    }
    if (byteOffset < end) throw damaged(path, `tensor "${name}" overlaps the one before it`);
    if (byteOffset > end)
      throw damaged(path, `${byteOffset - end} bytes before tensor "${name}" belong to none`);
    end = byteOffset + byteLength;
  }
  if (end !== fileBytes) throw damaged(path, `${fileBytes - end} bytes at its end belong to no tensor`);
}

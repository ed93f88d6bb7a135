import { TamiasError } from "../../ffi/errors.ts";
import { type Dtype, dtypeBytes } from "./dtype.ts";

export interface TensorData {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Little-endian elements; as many bytes as type and shape say. */
  readonly data: ArrayBufferView;
}

/**
 * Writes a safetensors file, widest elements first so that every tensor is aligned to its element size.
 * For tests and tools: the file is written in place.
 * @throws TamiasError `bad_input` when the bytes do not fit type and shape, `io` when writing fails
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, TensorData>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const ordered = Object.entries(tensors).toSorted(
    ([nameA, a], [nameB, b]) => dtypeBytes[b.dtype] - dtypeBytes[a.dtype] || (nameA < nameB ? -1 : 1),
  );
  const header: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  let end = 0;
  for (const [name, { dtype, shape, data }] of ordered) {
    const expected = shape.reduce((product, extent) => product * extent, dtypeBytes[dtype]);
    if (data.byteLength !== expected) {
      throw new TamiasError(
        "bad_input",
        `Tensor "${name}" has ${data.byteLength} bytes, but ${dtype} [${shape.join(", ")}] needs ${expected}.`,
      );
    }
    header.push([name, { dtype, shape, data_offsets: [end, end + expected] }]);
    end += expected;
  }

  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(json.byteLength / 8) * 8;
  const start = new Uint8Array(8 + headerBytes).fill(0x20);
  new DataView(start.buffer).setBigUint64(0, BigInt(headerBytes), true);
  start.set(json, 8);

  try {
    const sink = Bun.file(path).writer();
    sink.write(start);
    for (const [, { data }] of ordered) {
      sink.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      await sink.flush();
    }
    await sink.end();
  } catch (cause) {
    throw new TamiasError("io", `${path} cannot be written.`, { cause });
  }
}

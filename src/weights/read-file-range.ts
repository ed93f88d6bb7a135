import { TamiasError } from "../../ffi/errors.ts";

/**
 * Reads `byteLength` bytes of a file from `byteOffset` on.
 * @throws TamiasError `io` when the file cannot be read or ends too early
 */
export async function readFileRange(
  path: string,
  byteOffset: number,
  byteLength: number,
): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = await Bun.file(path)
      .slice(byteOffset, byteOffset + byteLength)
      .bytes();
  } catch (cause) {
    throw new TamiasError("io", `${path} cannot be read.`, { cause });
  }
  if (bytes.byteLength !== byteLength) {
    throw new TamiasError("io", `${path} ended while it was read; did something else write to it?`);
  }
  return bytes;
}

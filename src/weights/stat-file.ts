import { stat } from "node:fs/promises";
import { TamiasError } from "../../ffi/errors.ts";

/**
 * The size in bytes of a regular file.
 * @throws TamiasError `not_found` when there is none, `io` when it cannot be reached or is no file
 */
export async function statFile(path: string): Promise<{ byteLength: number }> {
  let stats;
  try {
    stats = await stat(path);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new TamiasError("not_found", `There is no file ${path}.`, { cause });
    }
    throw new TamiasError("io", `${path} cannot be read (${String(code)}).`, { cause });
  }
  if (!stats.isFile()) throw new TamiasError("io", `${path} is not a file.`);
  return { byteLength: stats.size };
}

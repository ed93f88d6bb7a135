import { rename, rm, writeFile } from "node:fs/promises";
import { TamiasError } from "../../ffi/errors.ts";

/** Ends the names of files that are being written; those of a process that was killed stay. */
export const UNFINISHED_SUFFIX = ".part";

/**
 * Writes a file whole or not at all: beside its place first, then moved there. What stood there before stays until then.
 * @throws TamiasError `io` when the folder is missing or cannot be written, or the disk is full
 */
export async function writeFileAtomically(path: string, bytes: Uint8Array): Promise<void> {
  const unfinished = `${path}.${process.pid}-${crypto.randomUUID().slice(0, 8)}${UNFINISHED_SUFFIX}`;
  try {
    await writeFile(unfinished, bytes);
    await rename(unfinished, path);
  } catch (cause) {
    await rm(unfinished, { force: true });
    throw new TamiasError("io", `${path} cannot be written (${reason(cause)}).`, { cause });
  }
}

function reason(cause: unknown): string {
  const reasons: Record<string, string> = {
    EACCES: "permission denied",
    EISDIR: "it is a folder",
    ENOENT: "its folder does not exist",
    ENOSPC: "the disk is full",
    EROFS: "the file system is read-only",
  };
  const { code = "", message } = cause as NodeJS.ErrnoException;
  return reasons[code] ?? message;
}

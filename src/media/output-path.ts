import { rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { TamiasError } from "../../ffi/errors.ts";

/**
 * Makes sure that a file can be written at `path` later, before minutes of work go into it. Folders that do not exist
 * yet are made when the file is written.
 * @throws TamiasError `io` saying which folder stands in the way
 */
export async function ensureWritable(path: string): Promise<void> {
  if (await isFolder(path))
    throw new TamiasError("io", `${path} is a folder; give the name of a file in it.`);
  await ensureFolderWritable(dirname(resolve(path)));
}

/** The same for a folder that files are to be written into. */
export async function ensureFolderWritable(folder: string): Promise<void> {
  for (let existing = resolve(folder); ; existing = dirname(existing)) {
    const kind = await isFolder(existing);
    if (kind === undefined && existing !== dirname(existing)) continue;
    if (kind !== true)
      throw new TamiasError("io", `${existing} is not a folder, so nothing can be written into it.`);
    // Writing tells more than permissions do: some file systems refuse even root.
    const probe = join(existing, `.tamias-${process.pid}-${crypto.randomUUID().slice(0, 8)}`);
    try {
      await writeFile(probe, "", { flag: "wx" });
      return await rm(probe);
    } catch (cause) {
      throw new TamiasError("io", `The folder ${existing} cannot be written to.`, {
        hint: "Choose another place, or change its permissions.",
        cause,
      });
    }
  }
}

/** undefined: there is nothing there. */
async function isFolder(path: string): Promise<boolean | undefined> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new TamiasError("io", `${path} cannot be looked at (${code}).`, { cause: error });
  }
}

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { TamiasError } from "../../ffi/errors.ts";
import { writeFileAtomically } from "../media/atomic-write.ts";
import { encodePng } from "../media/png.ts";
import type { Picture } from "../pipeline/events.ts";

/**
 * Writes a picture as PNG, whole or not at all; makes the folders above it.
 * @throws TamiasError `io`
 */
export async function writePicture(
  path: string,
  picture: Picture,
  metadata: Record<string, string> = {},
): Promise<void> {
  await makeFolder(dirname(path));
  await writeFileAtomically(path, encodePng(picture, metadata));
}

/**
 * Writes a text file, whole or not at all; makes the folders above it.
 * @throws TamiasError `io`
 */
export async function writeText(path: string, text: string): Promise<void> {
  await makeFolder(dirname(path));
  await writeFileAtomically(path, new TextEncoder().encode(text));
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw new TamiasError("io", `The folder ${folder} cannot be made (${(cause as Error).message}).`, {
      cause,
    });
  }
}

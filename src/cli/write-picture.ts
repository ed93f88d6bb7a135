import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
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
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomically(path, encodePng(picture, metadata));
}

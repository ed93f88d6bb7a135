import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeFileAtomically } from "../../src/media/atomic-write.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tamias-"));
});
afterAll(() => rm(folder, { recursive: true }));

test("writes and replaces, leaving nothing beside the file", async () => {
  const path = join(folder, "a.bin");
  await writeFileAtomically(path, Uint8Array.of(1, 2));
  await writeFileAtomically(path, Uint8Array.of(3));
  expect(await Bun.file(path).bytes()).toEqual(Uint8Array.of(3));
  expect(await readdir(folder)).toEqual(["a.bin"]);
});

test("a folder in the way, or none at all, is one clear sentence and leaves nothing", async () => {
  const inside = join(folder, "sub");
  await Bun.write(join(inside, "x"), "x");
  await expect(writeFileAtomically(inside, Uint8Array.of(1))).rejects.toThrow(/cannot be written/);
  await expect(writeFileAtomically(join(folder, "none/b.bin"), Uint8Array.of(1))).rejects.toThrow(
    /folder does not exist/,
  );
  expect(await readdir(folder)).toEqual(["a.bin", "sub"]);
});

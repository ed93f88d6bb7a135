import { expect, test } from "bun:test";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { FileCache } from "../../src/server/page/files.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

test("files are read once, and names of none are not kept", async () => {
  await using folder = await temporaryFolder();
  const cache = new FileCache();
  const url = (name: string) => pathToFileURL(join(folder.path, name));
  await Bun.write(join(folder.path, "there"), "first");
  const first = await cache.get(url("there"));
  await Bun.write(join(folder.path, "there"), "second");
  expect(await cache.get(url("there"))).toBe(first);
  for (let count = 0; count < 100; count++)
    expect(await cache.get(url(`none-${count}`)).catch((error: { code: string }) => error.code)).toBe(
      "ENOENT",
    );
  expect(cache.size).toBe(1);
  await Bun.write(join(folder.path, "none-1"), "later");
  expect(Buffer.from((await cache.get(url("none-1"))).bytes).toString()).toBe("later");
});

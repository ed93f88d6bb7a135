import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Device, NativeLibrary } from "../../ffi/index.ts";
import { ABI_VERSION, symbols } from "../../ffi/symbols.ts";

const folder = mkdtempSync(join(tmpdir(), "tamias-library-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A library that has some of the symbols and does nothing. */
function fakeLibrary(name: string, version: number, names: readonly string[] = Object.keys(symbols)): string {
  const source = join(folder, `${name}.c`);
  const library = join(folder, `${name}.so`);
  const functions = names.map(
    (symbol) => `int ${symbol}(void) { return ${symbol === "tamias_abi_version" ? version : 0}; }`,
  );
  writeFileSync(source, functions.join("\n"));
  const build = Bun.spawnSync(["g++", "-x", "c", "-shared", "-fPIC", source, "-o", library]);
  expect(build.exitCode, build.stderr.toString()).toBe(0);
  return library;
}

test("a library that does not exist is named, with what to do", async () => {
  const path = join(folder, "missing.so");
  await expect(NativeLibrary.open("cpu", path)).rejects.toThrow(
    expect.objectContaining({
      code: "not_found",
      message: expect.stringContaining(path),
      hint: expect.stringContaining("build"),
    }),
  );
});

test("a library of another ABI version is refused, with both versions", async () => {
  const path = fakeLibrary("other-version", ABI_VERSION + 41);
  await expect(NativeLibrary.open("cpu", path)).rejects.toThrow(
    expect.objectContaining({
      code: "abi",
      message: expect.stringMatching(new RegExp(`${ABI_VERSION + 41}.*${ABI_VERSION}`)),
    }),
  );
});

test("a library that lacks a function is refused", async () => {
  const path = fakeLibrary("incomplete", ABI_VERSION, ["tamias_abi_version", "tamias_last_error"]);
  await expect(NativeLibrary.open("cpu", path)).rejects.toThrow(
    expect.objectContaining({ code: "abi", message: expect.stringContaining(path) }),
  );
});

test("a file that is no library is refused", async () => {
  const path = join(folder, "text.so");
  writeFileSync(path, "This is no library.");
  await expect(NativeLibrary.open("cpu", path)).rejects.toThrow(expect.objectContaining({ code: "abi" }));
});

test("the built library opens, and its device says what it is", async () => {
  const library = await NativeLibrary.open("cpu");
  expect(library.backend).toBe("cpu");
  using device = await Device.open({ backend: "cpu", threads: 3 });
  expect(device.info()).toMatchObject({
    backend: "cpu",
    threads: 3,
    name: expect.stringMatching(/^CPU, AVX/),
  });
});

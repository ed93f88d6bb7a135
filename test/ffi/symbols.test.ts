import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { dtypes } from "../../ffi/dtype.ts";
import { libraryPath } from "../../ffi/library.ts";
import { ABI_VERSION, type ArgumentType, Status, symbols } from "../../ffi/symbols.ts";
import { DESCRIPTOR_BYTES } from "../../ffi/tensor.ts";

const headerPath = fileURLToPath(new URL("../../kernels/include/tamias.h", import.meta.url));
const header = await Bun.file(headerPath).text();

/** Every declared function with its arguments in the table's words. */
function declared(): Map<string, string[]> {
  const functions = new Map<string, string[]>();
  for (const [, name = "", list = ""] of header.matchAll(/TAMIAS_API int32_t (tamias_\w+)\(([^)]*)\);/g)) {
    const args =
      list.trim() === "void" ? [] : list.split(",").map((argument) => argument.trim().replace(/\s+/g, " "));
    functions.set(name, args.map(tableType));
  }
  return functions;
}

function tableType(argument: string): ArgumentType {
  const type = argument.replace(/\w+$/, "").trim();
  const known: Record<string, ArgumentType> = {
    int32_t: "i32",
    int64_t: "i64",
    float: "f32",
    double: "f64",
    uint64_t: "u64",
    "const tamias_tensor*": "tensor",
    "char*": "bytes",
    "const char*": "bytes",
    "void*": "bytes",
    "const void*": "bytes",
    "int32_t*": "bytes",
    "uint64_t*": "bytes",
    "double*": "bytes",
    "tamias_device_info*": "bytes",
  };
  if (known[type]) return known[type];
  throw new Error(`The header has an argument this test does not know: ${argument}`);
}

test("the symbol table is the header, function by function and in its order", () => {
  const table = Object.entries<readonly ArgumentType[]>(symbols).map(
    ([name, args]) => [name, args.map((type) => (type === "tensor?" ? "tensor" : type))] as const,
  );
  expect(new Map(table.map(([name, args]) => [name as string, args as string[]]))).toEqual(declared());
  expect(table.map(([name]) => name as string)).toEqual([...declared().keys()]);
});

test("no declaration of the header escapes the comparison", () => {
  expect(header.match(/^TAMIAS_API /gm)?.length).toBe(declared().size);
  expect([...header.matchAll(/^TAMIAS_API (\w+ ?\**)/gm)].map(([, type]) => type?.trim())).toEqual(
    Array(declared().size).fill("int32_t"),
  );
});

test("the header is C", () => {
  const check = ["g++", "-x", "c", "-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", headerPath];
  const run = Bun.spawnSync(check);
  expect(run.exitCode, run.stderr.toString()).toBe(0);
});

/** A C enum's names, without their common beginning, and numbers. */
function enumeration(name: string): Map<string, number> {
  const body = header.match(new RegExp(`enum ${name} \\{([^}]*)\\}`))?.[1] ?? "";
  return new Map(
    [...body.matchAll(/TAMIAS_(\w+) = (\d+)/g)].map(([, entry = "", code]) => [entry, Number(code)]),
  );
}

test("the statuses and dtypes are the header's", () => {
  const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
  expect(new Map<string, number>(Object.entries(Status).map(([name, code]) => [snake(name), code]))).toEqual(
    enumeration("tamias_status"),
  );
  expect(
    new Map<string, number>(Object.entries(dtypes).map(([name, { code }]) => [name.toUpperCase(), code])),
  ).toEqual(enumeration("tamias_dtype"));
});

test("a tensor's descriptor has the header's rank", () => {
  const rank = Number(header.match(/#define TAMIAS_MAX_RANK (\d+)/)?.[1]);
  expect(DESCRIPTOR_BYTES).toBe(16 + 16 * rank);
});

test("the table has the header's ABI version", () => {
  expect(header.match(/#define TAMIAS_ABI_VERSION (\d+)/)?.[1]).toBe(String(ABI_VERSION));
});

for (const backend of ["cpu", "cuda"] as const) {
  // The CUDA library exists only where nvcc built it; the CPU library always.
  const path = libraryPath(backend);
  test.skipIf(backend === "cuda" && !existsSync(path))(
    `libtamias_${backend}.so exports exactly the table`,
    () => {
      const run = Bun.spawnSync(["nm", "-D", "--defined-only", path]);
      expect(run.exitCode).toBe(0);
      const exported = run.stdout
        .toString()
        .split("\n")
        .map((line) => line.split(" ").at(-1) ?? "")
        .filter((name) => name.startsWith("tamias_"));
      expect(exported.toSorted()).toEqual(Object.keys(symbols).toSorted());
    },
  );
}

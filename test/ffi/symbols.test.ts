import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { libraryPath } from "../../ffi/library.ts";
import { ABI_VERSION, type ArgumentType, symbols } from "../../ffi/symbols.ts";

const header = await Bun.file(new URL("../../kernels/include/tamias.h", import.meta.url)).text();

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
  };
  if (known[type]) return known[type];
  if (type.endsWith("*")) return "bytes";
  throw new Error(`The header has an argument this test does not know: ${argument}`);
}

test("the symbol table is the header, function by function and in its order", () => {
  const table = Object.entries<readonly ArgumentType[]>(symbols).map(
    ([name, args]) => [name, args.map((type) => (type === "tensor?" ? "tensor" : type))] as const,
  );
  expect(new Map(table.map(([name, args]) => [name as string, args as string[]]))).toEqual(declared());
  expect(table.map(([name]) => name as string)).toEqual([...declared().keys()]);
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

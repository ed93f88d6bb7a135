import type { SymbolName } from "../../../ffi/symbols.ts";

/** The argument names of every function in kernels/include/tamias.h, in their order. */
export async function argumentNames(): Promise<ReadonlyMap<SymbolName, readonly string[]>> {
  const header = await Bun.file(new URL("../../../kernels/include/tamias.h", import.meta.url)).text();
  const functions = new Map<SymbolName, readonly string[]>();
  for (const [, name = "", list = ""] of header.matchAll(/TAMIAS_API int32_t (tamias_\w+)\(([^)]*)\);/g)) {
    const names = [...list.matchAll(/(\w+)\s*(?:,|$)/g)].map(([, argument = ""]) => argument);
    functions.set(name as SymbolName, list.trim() === "void" ? [] : names);
  }
  return functions;
}

import type { ForeignRuntime } from "./adapter.ts";

/** The FFI of the runtime this process runs on. Throws a plain Error on others (Node has none). */
export async function foreignRuntime(): Promise<ForeignRuntime> {
  if ("Bun" in globalThis) return import("./bun.ts");
  if ("Deno" in globalThis) return import("./deno.ts");
  throw new Error("Tamias needs Bun (or Deno with --allow-ffi): this JavaScript runtime has no FFI.");
}

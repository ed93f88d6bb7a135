import type { ArgumentType } from "../symbols.ts";

/** What crosses into native code: numbers, 64-bit integers, and views whose memory C reads or writes. */
export type NativeArgument = number | bigint | Uint8Array | null;
export type NativeFunction = (...args: NativeArgument[]) => number;
export type SymbolTable<Name extends string> = Record<Name, readonly ArgumentType[]>;

type Opener = <Name extends string>(path: string, table: SymbolTable<Name>) => Record<Name, NativeFunction>;

/** The FFI of the runtime this process runs on. Throws a plain Error on others (Node has none). */
export async function runtimeOpener(): Promise<Opener> {
  if ("Bun" in globalThis) return (await import("./bun.ts")).openNative;
  if ("Deno" in globalThis) return (await import("./deno.ts")).openNative;
  throw new Error("Tamias needs Bun (or Deno with --allow-ffi): this JavaScript runtime has no FFI.");
}

import type { ArgumentType } from "../symbols.ts";
import type { NativeFunction, SymbolTable } from "./adapter.ts";

/** The part of Deno's namespace used here; the project's types are Bun's. */
interface DenoForeign {
  dlopen(
    path: string,
    declarations: Record<string, { parameters: string[]; result: string }>,
  ): { symbols: Record<string, (...args: unknown[]) => number> };
  readonly env: { has(name: string): boolean; set(name: string, value: string): void };
}

const types: Record<ArgumentType, string> = {
  i32: "i32",
  i64: "i64",
  f32: "f32",
  f64: "f64",
  u64: "u64",
  tensor: "buffer",
  "tensor?": "buffer",
  bytes: "buffer",
};

/** Opens a shared library with Deno's FFI (needs --allow-ffi). */
export function openNative<Name extends string>(
  path: string,
  table: SymbolTable<Name>,
): Record<Name, NativeFunction> {
  const declarations = Object.fromEntries(
    Object.entries<readonly ArgumentType[]>(table).map(([name, args]) => [
      name,
      { parameters: args.map((type) => types[type]), result: "i32" },
    ]),
  );
  return deno().dlopen(path, declarations).symbols as Record<Name, NativeFunction>;
}

/** Deno's environment is libc's. */
export function setNativeDefault(name: string, value: string): void {
  if (!deno().env.has(name)) deno().env.set(name, value);
}

function deno(): DenoForeign {
  return (globalThis as unknown as { Deno: DenoForeign }).Deno;
}

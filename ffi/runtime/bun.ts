import { dlopen, FFIType } from "bun:ffi";
import type { ArgumentType } from "../symbols.ts";
import type { NativeFunction, SymbolTable } from "./adapter.ts";

const types: Record<ArgumentType, FFIType> = {
  i32: FFIType.i32,
  i64: FFIType.i64,
  f32: FFIType.f32,
  f64: FFIType.f64,
  u64: FFIType.u64,
  tensor: FFIType.ptr,
  "tensor?": FFIType.ptr,
  bytes: FFIType.ptr,
};

export function openNative<Name extends string>(
  path: string,
  table: SymbolTable<Name>,
): Record<Name, NativeFunction> {
  const declarations = Object.fromEntries(
    Object.entries<readonly ArgumentType[]>(table).map(([name, args]) => [
      name,
      { args: args.map((type) => types[type]), returns: FFIType.i32 },
    ]),
  );
  return dlopen(path, declarations).symbols as unknown as Record<Name, NativeFunction>;
}

/** Bun keeps `process.env` to itself, so native code sees only what libc is told. */
export function setNativeDefault(name: string, value: string): void {
  if (process.env[name] !== undefined) return;
  const libc = dlopen("libc.so.6", {
    setenv: { args: [FFIType.ptr, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  });
  const text = (word: string) => new TextEncoder().encode(`${word}\0`);
  libc.symbols.setenv(text(name), text(value), 0);
}

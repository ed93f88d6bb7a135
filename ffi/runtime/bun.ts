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

/** Opens a shared library with bun:ffi. It is never closed: calling into a closed library would crash the process. */
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

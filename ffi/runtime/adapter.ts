import type { ArgumentType } from "../symbols.ts";

/** What crosses into native code: numbers, 64-bit integers, and views whose memory C reads or writes. */
export type NativeArgument = number | bigint | Uint8Array | null;
export type NativeFunction = (...args: NativeArgument[]) => number;
export type SymbolTable<Name extends string> = Record<Name, readonly ArgumentType[]>;

/** What native code needs of a JavaScript runtime. */
export interface ForeignRuntime {
  /** Opens a shared library. It is never closed: calling into a closed library would crash the process. */
  openNative<Name extends string>(path: string, table: SymbolTable<Name>): Record<Name, NativeFunction>;
  /** Sets an environment variable for native code, unless it is set already. */
  setNativeDefault(name: string, value: string): void;
}

import { libraryPath } from "../../../ffi/index.ts";
import type { NativeArgument, NativeFunction } from "../../../ffi/runtime/adapter.ts";
import { openNative } from "../../../ffi/runtime/bun.ts";
import { type SymbolName, symbols } from "../../../ffi/symbols.ts";
import { testBackend } from "../support.ts";
import { Descriptor } from "./descriptor.ts";

/** What a raw call is given: nothing is checked on the way. */
export type RawArgument = number | bigint | Uint8Array | Descriptor | null;

/** The native library without the checks of ffi/. */
export class RawLibrary {
  readonly #functions: Record<SymbolName, NativeFunction>;

  constructor() {
    this.#functions = openNative(libraryPath(testBackend()), symbols);
  }

  call(name: SymbolName, args: readonly RawArgument[]): number {
    const native: NativeArgument[] = args.map((value) => (value instanceof Descriptor ? value.bytes : value));
    return this.#functions[name](...native);
  }

  lastError(): string {
    const text = new Uint8Array(1024);
    this.#functions.tamias_last_error(text, text.length);
    return new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
  }
}

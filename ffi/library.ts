import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { TamiasError } from "./errors.ts";
import type { NativeArgument, NativeFunction } from "./runtime/adapter.ts";
import { foreignRuntime } from "./runtime/find-runtime.ts";
import { ABI_VERSION, type ArgumentType, Status, type SymbolName, symbols } from "./symbols.ts";
import { DeviceTensor } from "./tensor.ts";
import { Tracer } from "./trace.ts";

export type Backend = "cpu" | "cuda";

/** What a caller may pass for each argument type of the table. */
interface ArgumentValues {
  i32: number;
  i64: number;
  f32: number;
  f64: number;
  u64: bigint | number;
  tensor: DeviceTensor;
  "tensor?": DeviceTensor | null;
  bytes: Uint8Array;
}

type Values<Types extends readonly ArgumentType[]> = {
  -readonly [Index in keyof Types]: ArgumentValues[Types[Index]];
};

export type Arguments<Name extends SymbolName> = Values<(typeof symbols)[Name]>;

/**
 * One of the two native libraries, opened. Every call goes through `call`, which checks each argument against the
 * symbol table (JavaScript's FFI turns NaN, fractions and missing values into silent zeros) and each status after it.
 */
export class NativeLibrary {
  readonly #functions: Record<SymbolName, NativeFunction>;
  readonly #tracer: Tracer | undefined;

  readonly backend: Backend;
  readonly path: string;

  private constructor(
    backend: Backend,
    path: string,
    functions: Record<SymbolName, NativeFunction>,
    tracer?: Tracer,
  ) {
    this.backend = backend;
    this.path = path;
    this.#functions = functions;
    this.#tracer = tracer;
  }

  /** A library whose functions are given instead of loaded. */
  static of(backend: Backend, functions: Record<SymbolName, NativeFunction>): NativeLibrary {
    return new NativeLibrary(backend, "", functions);
  }

  /** Opens `path`, or the library built into `build/` (directory overridden by TAMIAS_LIBRARY_DIR). */
  static async open(backend: Backend, path = libraryPath(backend)): Promise<NativeLibrary> {
    if (!existsSync(path))
      throw new TamiasError("not_found", `The native library ${path} does not exist.`, {
        hint:
          backend === "cpu"
            ? "Build it with `npm run build`."
            : "Build it with `npm run build` where CUDA's compiler, nvcc 13, is installed, or use the device cpu.",
      });
    const runtime = await foreignRuntime();
    // OpenMP threads that wait by spinning take the cores from other programs, and from the thread they wait for.
    runtime.setNativeDefault("OMP_WAIT_POLICY", "passive");
    let functions: Record<SymbolName, NativeFunction>;
    try {
      functions = runtime.openNative(path, symbols);
    } catch (cause) {
      throw new TamiasError(
        "abi",
        `The native library ${path} cannot be loaded: ${(cause as Error).message}`,
        { cause },
      );
    }
    const version = functions.tamias_abi_version();
    if (version !== ABI_VERSION)
      throw new TamiasError(
        "abi",
        `The native library ${path} has ABI version ${version}, this program needs ${ABI_VERSION}.`,
        {
          hint: "Rebuild it with `npm run build`.",
        },
      );
    const tracer = Tracer.fromEnvironment((stream) => functions.tamias_stream_synchronize(stream));
    return new NativeLibrary(backend, path, functions, tracer);
  }

  /** Calls a function and throws a TamiasError with the library's own sentence unless it returns TAMIAS_OK. */
  call<Name extends SymbolName>(name: Name, ...args: Arguments<Name>): void {
    const status = this.status(name, ...args);
    if (status !== Status.ok) throw this.error(name, status);
  }

  /** Calls a function and returns its status; argument mistakes still throw. */
  status<Name extends SymbolName>(name: Name, ...args: Arguments<Name>): number {
    const native = this.prepare(name, ...args);
    const run = this.#functions[name];
    return this.#tracer ? this.#tracer.run(name, args, native, run) : run(...native);
  }

  /** Arguments as native code takes them, checked; for `invoke`, perhaps on another thread. */
  prepare<Name extends SymbolName>(name: Name, ...args: Arguments<Name>): NativeArgument[] {
    const types: readonly ArgumentType[] = symbols[name];
    const given = args as readonly unknown[];
    if (given.length !== types.length)
      throw new TamiasError("bad_input", `${name} takes ${types.length} arguments, got ${given.length}.`);
    return types.map((type, index) => toNative(name, index, type, given[index]));
  }

  /** Calls a function with prepared arguments and returns its status. */
  invoke(name: SymbolName, native: readonly NativeArgument[]): number {
    return this.#functions[name](...native);
  }

  error(name: SymbolName, status: number): TamiasError {
    const text = new Uint8Array(1024);
    this.#functions.tamias_last_error(text, text.length);
    const end = text.indexOf(0);
    const message = new TextDecoder().decode(text.subarray(0, end < 0 ? text.length : end));
    return new TamiasError(codeOfStatus(status), message || `${name} failed with status ${status}.`);
  }
}

export function libraryPath(backend: Backend): string {
  const directory = process.env["TAMIAS_LIBRARY_DIR"] ?? fileURLToPath(new URL("../build", import.meta.url));
  return `${directory}/libtamias_${backend}.so`;
}

function codeOfStatus(status: number): TamiasError["code"] {
  if (status === Status.invalidArgument) return "bad_input";
  if (status === Status.outOfMemory) return "out_of_memory";
  if (status === Status.io) return "io";
  if (status === Status.unsupported) return "unsupported";
  if (status === Status.device) return "device_failed";
  return "native";
}

function toNative(name: string, index: number, type: ArgumentType, value: unknown): NativeArgument {
  const wrong = (expected: string) =>
    new TamiasError(
      "bad_input",
      `${name}: argument ${index + 1} must be ${expected}, got ${describe(value)}.`,
    );
  switch (type) {
    case "i32":
      if (typeof value !== "number" || (value | 0) !== value) throw wrong("a 32-bit integer");
      return value;
    case "i64":
      if (!Number.isSafeInteger(value)) throw wrong("an integer");
      return value as number;
    case "f32":
    case "f64":
      if (typeof value !== "number" || Number.isNaN(value)) throw wrong("a number");
      return value;
    case "u64":
      if (typeof value === "bigint" && BigInt.asUintN(64, value) === value) return value;
      if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
      throw wrong("a non-negative integer");
    case "tensor":
    case "tensor?":
      if (value === null && type === "tensor?") return null;
      if (!(value instanceof DeviceTensor)) throw wrong("a DeviceTensor");
      return value.descriptor;
    case "bytes":
      if (!(value instanceof Uint8Array) || value.length === 0) throw wrong("a Uint8Array that is not empty");
      return value;
  }
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return typeof value === "object" ? value.constructor.name : `${typeof value} ${String(value)}`;
}

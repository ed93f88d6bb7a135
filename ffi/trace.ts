import type { NativeArgument, NativeFunction } from "./runtime/adapter.ts";
import type { SymbolName } from "./symbols.ts";
import { DeviceTensor } from "./tensor.ts";

/** Functions whose time says nothing about the network. */
const quiet = new Set<SymbolName>(["tamias_last_error", "tamias_event_query", "tamias_device_info_get"]);

/**
 * With TAMIAS_TRACE=1, prints every native call with its shapes and its time to stderr, and a table of totals at exit.
 * Queued work is waited for after each call, so the time is the work's own; overlap between streams is lost.
 */
export class Tracer {
  readonly #totals = new Map<string, { calls: number; milliseconds: number }>();

  readonly #synchronize: (stream: bigint | number) => void;

  private constructor(synchronize: (stream: bigint | number) => void) {
    this.#synchronize = synchronize;
    process.on("exit", () => this.#summary());
  }

  static fromEnvironment(synchronize: (stream: bigint | number) => void): Tracer | undefined {
    return process.env["TAMIAS_TRACE"] === "1" ? new Tracer(synchronize) : undefined;
  }

  run(name: SymbolName, given: readonly unknown[], native: NativeArgument[], call: NativeFunction): number {
    if (quiet.has(name)) return call(...native);
    const start = performance.now();
    const status = call(...native);
    const tensors = given.filter((value) => value instanceof DeviceTensor);
    const stream = native[0];
    if (tensors.length > 0 && status === 0 && (typeof stream === "bigint" || typeof stream === "number"))
      this.#synchronize(stream);
    const milliseconds = performance.now() - start;
    const total = this.#totals.get(name) ?? { calls: 0, milliseconds: 0 };
    this.#totals.set(name, { calls: total.calls + 1, milliseconds: total.milliseconds + milliseconds });
    const shapes = tensors.map((tensor) => `${tensor.dtype}[${tensor.shape.join(",")}]`).join(" ");
    process.stderr.write(`${name.padEnd(32)} ${milliseconds.toFixed(3).padStart(9)} ms  ${shapes}\n`);
    return status;
  }

  #summary(): void {
    const rows = [...this.#totals].toSorted((a, b) => b[1].milliseconds - a[1].milliseconds);
    for (const [name, { calls, milliseconds }] of rows)
      process.stderr.write(
        `${name.padEnd(32)} ${milliseconds.toFixed(1).padStart(11)} ms in ${calls} calls\n`,
      );
  }
}

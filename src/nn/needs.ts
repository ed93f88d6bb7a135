import type { Device } from "../../ffi/index.ts";
import { DryRun } from "./dry-run.ts";
import type { Ops } from "./ops.ts";

/** Bytes of device memory that a part of a model takes, known from its files' headers before it is loaded. */
export interface PartNeeds<Use extends string> {
  /** From loading on. */
  readonly parameters: number;
  /** More than these, while loading. */
  readonly loading: number;
  /** More than the parameters, by what the part is used for: results, temporaries and the stream's workspace. */
  readonly uses: Readonly<Record<Use, number>>;
}

/**
 * What a part will take, found by a dry run of the same code that loads and uses it.
 * @param load loads the part; it is given ops that only count
 * @param uses what is done with it; each disposes of its results
 */
export function partNeeds<Part extends Disposable, Use extends string>(
  device: Device,
  load: (ops: Ops) => Part,
  uses: Readonly<Record<Use, (part: Part, ops: Ops) => void>>,
): PartNeeds<Use> {
  using run = new DryRun(device);
  let loaded: Part | undefined;
  const peak = run.peakOf(() => (loaded = load(run.ops)));
  using part = loaded!;
  run.ops.memory.trim();
  const parameters = run.bytes;
  const entries = Object.entries<(part: Part, ops: Ops) => void>(uses).map(
    ([name, use]) => [name, run.peakOf(() => use(part, run.ops))] as const,
  );
  return {
    parameters,
    loading: peak - parameters,
    uses: Object.fromEntries(entries) as Record<Use, number>,
  };
}

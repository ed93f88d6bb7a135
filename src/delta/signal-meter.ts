import type { DeviceTensor } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";
import type { Cell } from "./cells.ts";
import type { Plan } from "./policy.ts";
import type { Observation, Signal, SignalKind } from "./signals.ts";

/** Signals that are told from one step to the next, so that the tensor of the step before is kept. */
type StepSignal = Exclude<SignalKind, "cacheError">;

/** Measures what a plan observes, and nothing else. */
export class SignalMeter implements Disposable {
  readonly #ops: Ops;
  readonly #plan: Plan;
  readonly #wanted: ReadonlySet<SignalKind>;
  /** Tensors of the last step that ran, by signal and branch. */
  readonly #before = new Map<string, DeviceTensor>();
  /** Measured on the device, not read yet. */
  #measured: { readonly norms: DeviceTensor; tell(relativeChange: number): void }[] = [];

  constructor(ops: Ops, plan: Plan) {
    this.#ops = ops;
    this.#plan = plan;
    this.#wanted = new Set(plan.observe ? plan.signals : []);
  }

  wants(kind: SignalKind): boolean {
    return this.#wanted.has(kind);
  }

  /** Tells the plan how far `now` is from what it was in the last step that ran. Waits for the stream. */
  measureNow(kind: StepSignal, at: Pick<Observation, "step" | "branch">, now: DeviceTensor): void {
    if (!this.wants(kind)) return;
    const key = `${kind}.${at.branch}`;
    const before = this.#before.get(key);
    if (before) this.#measure(now, before, at, { kind });
    const kept = before ?? this.#ops.memory.persistent(now.shape, now.dtype);
    this.#before.set(key, kept);
    this.#ops.copy(now, kept);
    this.tell();
  }

  /** Notes how far a delta would have been from dense; told by `tell`. */
  measureError({ step, branch, layer, module }: Cell, dense: DeviceTensor, delta: DeviceTensor): void {
    this.#measure(delta, dense, { step, branch }, { kind: "cacheError", layer, module });
  }

  /** Tells the plan all that has been measured. Waits for the stream where there is something. */
  tell(): void {
    for (const { norms, tell } of this.#measured.splice(0)) {
      const [change = 0, size = 0] = this.#ops.stream.read(norms, new Float32Array(2));
      norms[Symbol.dispose]();
      // Nothing to compare with: nothing is known to have stayed.
      tell(size === 0 ? Number.POSITIVE_INFINITY : change / size);
    }
  }

  [Symbol.dispose](): void {
    for (const { norms } of this.#measured.splice(0)) norms[Symbol.dispose]();
    for (const tensor of this.#before.values()) tensor[Symbol.dispose]();
    this.#before.clear();
  }

  #measure(
    now: DeviceTensor,
    before: DeviceTensor,
    at: Pick<Observation, "step" | "branch">,
    signal: Omit<Signal, "relativeChange">,
  ): void {
    const norms = this.#ops.memory.temporary([2], "f32");
    this.#ops.changeNorms(now, before, norms);
    this.#measured.push({
      norms,
      tell: (relativeChange) => this.#plan.observe?.({ ...at, signal: { ...signal, relativeChange } }),
    });
  }
}

import type { DeviceTensor } from "../../ffi/index.ts";
import type { Mlp, Ops } from "../nn/index.ts";
import type { MaskCounts } from "./counts.ts";
import { type FixedChoice, groupCount, Mask, type MaskShape } from "./mask.ts";
import type { Selector } from "./policy.ts";

/** One layer's MLP across the steps of a run: activations, pre-activation means and output of what was computed last. */
export class MlpCache implements Disposable {
  readonly mask: Mask;
  readonly #ops: Ops;
  /** [batch, groups, hidden, group] */
  readonly #activations: DeviceTensor;
  /** Pre-activation means each neuron had when it was last computed, F32 [batch, groups, hidden]. */
  readonly #means: DeviceTensor;
  /** F32 [batch, tokens, outputs] */
  readonly #out: DeviceTensor;
  #filled = false;

  constructor(
    ops: Ops,
    counts: MaskCounts,
    selector: Selector,
    shape: MaskShape,
    fixed: FixedChoice,
    outputs: number,
  ) {
    const { batch, rows, group, columns } = shape;
    const groups = groupCount(shape);
    this.#ops = ops;
    this.mask = new Mask(ops, counts, shape, selector, fixed);
    this.#activations = ops.lasting([batch, groups, columns, group]);
    this.#means = ops.lasting([batch, groups, columns], "f32");
    this.#out = ops.lasting([batch, rows, outputs], "f32");
  }

  get isFilled(): boolean {
    return this.#filled;
  }

  /** The whole MLP, remembered. */
  refresh(x: DeviceTensor, mlp: Mlp, out: DeviceTensor): void {
    this.#ops.mlpRefreshFc1(x, mlp.fc1, mlp.activation, this.#activations, this.#means);
    this.#ops.mlpRefreshFc2(this.#activations, mlp.columns(this.#ops).rows, mlp.fc2.bias, this.#out);
    this.#ops.copy(this.#out, out);
    this.#filled = true;
  }

  /** Chooses the neurons whose mean pre-activation moved most, weighted by what they add, and recomputes those. */
  delta(x: DeviceTensor, mlp: Mlp, out: DeviceTensor, always?: Uint8Array): void {
    const ops = this.#ops;
    const { batch, group } = this.mask.shape;
    const groups = groupCount(this.mask.shape);
    const { rows, norms } = mlp.columns(ops);
    this.#choose(x, mlp, norms, always);
    using delta = ops.temporary([batch, groups, this.mask.capacity, group]);
    ops.mlpDeltaFc1(x, mlp.fc1, mlp.activation, this.mask, this.#activations, delta);
    ops.mlpDeltaFc2(delta, this.mask, rows, this.#out);
    ops.copy(this.#out, out);
  }

  /** The output as it was last computed. */
  reuse(out: DeviceTensor): void {
    this.#ops.copy(this.#out, out);
  }

  [Symbol.dispose](): void {
    this.mask[Symbol.dispose]();
    this.#activations[Symbol.dispose]();
    this.#means[Symbol.dispose]();
    this.#out[Symbol.dispose]();
  }

  #choose(x: DeviceTensor, mlp: Mlp, norms: DeviceTensor, always?: Uint8Array): void {
    const ops = this.#ops;
    const { batch, group, columns } = this.mask.shape;
    const groups = groupCount(this.mask.shape);
    const width = x.shape[2] ?? 0;
    using tokenMeans = ops.temporary([batch, groups, width], "f32");
    ops.blockMeans(x, group, tokenMeans);
    // The first layer is linear: its mean pre-activation is the layer applied to the mean token.
    using typedMeans = ops.temporary([batch, groups, width]);
    ops.copy(tokenMeans, typedMeans);
    using now = ops.temporary([batch, groups, columns], "f32");
    ops.linear(typedMeans, mlp.fc1, now);
    using scores = ops.temporary([batch, groups, columns], "f32");
    ops.neuronScores(now, this.#means, norms, scores);
    this.mask.select(scores.reshape(batch, 1, groups, columns), always);
    ops.updateChosen(now, this.mask, this.#means);
  }
}

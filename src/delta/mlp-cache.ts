import { type DeviceTensor, dtypes } from "../../ffi/index.ts";
import type { Mlp, Ops } from "../nn/index.ts";
import type { MlpCacheLayout } from "./cache-layout.ts";
import type { MaskCounts } from "./counts.ts";
import { type FixedChoice, groupCount, Mask } from "./mask.ts";
import { InlineMaskWork, type MaskJob, type MaskWork } from "./mask-work.ts";
import type { Selector } from "./policy.ts";

/** How a cell chooses its neurons. */
export interface NeuronChoice {
  readonly select: Selector;
  /** Draws the neurons it takes whatever their scores, U8 [hidden]; asked only when a choice is made. */
  draw(): Uint8Array | undefined;
}

/** One layer's MLP across the steps of a run: activations, pre-activation means and output of what was computed last. */
export class MlpCache implements Disposable {
  readonly #ops: Ops;
  readonly #work: MaskWork;
  readonly #choosesAhead: boolean;
  /** What the last delta recomputed, or the one that comes will. */
  #mask: Mask;
  /** Where masks are chosen ahead: the next delta's, chosen while the last one's is still in use. */
  #nextMask: Mask | undefined;
  /** [batch, groups, hidden, group] */
  readonly #activations: DeviceTensor;
  /** Pre-activation means each neuron had when it was last computed, F32 [batch, groups, hidden]. */
  #means: DeviceTensor;
  /** Where masks are chosen ahead: room for a refresh's means while the old ones still tell what moved. */
  #otherMeans: DeviceTensor | undefined;
  /** F32 [batch, tokens, outputs] */
  readonly #out: DeviceTensor;
  #filled = false;
  /** Chooses masks and updates means: the last such job. */
  #job: MaskJob | undefined;
  /** Whether that job has chosen what the next delta recomputes. */
  #isChosen = false;

  /** Bytes on the device by part, without counts. */
  static bytes({ mask, outputs, choosesAhead, activationType }: MlpCacheLayout) {
    const { batch, rows, group, columns } = mask.shape;
    const means = batch * groupCount(mask.shape) * columns;
    const times = choosesAhead ? 2 : 1;
    return {
      masks: Mask.bytes(mask) * times,
      activations: means * group * dtypes[activationType].bytes,
      means: means * 4 * times,
      outputs: batch * rows * outputs * 4,
    };
  }

  constructor(ops: Ops, work: MaskWork, counts: MaskCounts, layout: MlpCacheLayout, fixed: FixedChoice) {
    const { batch, rows, group, columns } = layout.mask.shape;
    const groups = groupCount(layout.mask.shape);
    this.#ops = ops;
    this.#work = work;
    this.#choosesAhead = layout.choosesAhead;
    this.#mask = new Mask(ops, counts, layout.mask, fixed);
    this.#activations = ops.memory.persistent([batch, groups, columns, group]);
    this.#means = ops.memory.persistent([batch, groups, columns], "f32");
    this.#out = ops.memory.persistent([batch, rows, layout.outputs], "f32");
    if (!this.#choosesAhead) return;
    this.#nextMask = new Mask(ops, counts, layout.mask, fixed);
    this.#otherMeans = ops.memory.persistent([batch, groups, columns], "f32");
  }

  /** What the last delta recomputed. */
  get mask(): Mask {
    return this.#mask;
  }

  get isFilled(): boolean {
    return this.#filled;
  }

  /** The whole MLP, remembered. */
  refresh(x: DeviceTensor, mlp: Mlp, out: DeviceTensor, choice: NeuronChoice): void {
    const ops = this.#ops;
    const { rows, norms } = mlp.columns(ops);
    this.#job?.wait();
    const before = this.#means;
    const means = this.#otherMeans ?? before;
    ops.mlpRefreshFc1(x, mlp.fc1, mlp.activation, this.#activations, means);
    this.#isChosen = false;
    if (this.#nextMask) {
      [this.#means, this.#otherMeans] = [means, before];
      if (this.#filled) {
        const chosen = [this.#nextMask];
        this.#redraw(chosen, choice);
        this.#job = this.#work.start([], (side) =>
          this.#select(side, { now: means, before, norms }, chosen, choice.select),
        );
        this.#isChosen = true;
      }
    }
    ops.mlpRefreshFc2(this.#activations, rows, mlp.fc2.bias, this.#out);
    ops.copy(this.#out, out);
    this.#filled = true;
  }

  /** Begins to choose what the delta that comes will recompute, unless that was chosen ahead. */
  prepare(x: DeviceTensor, mlp: Mlp, choice: NeuronChoice): void {
    if (!this.#isChosen && !this.#nextMask) this.#choose(this.#work, x, mlp, [this.#mask], choice);
  }

  /** Recomputes the neurons whose mean pre-activation moved most, weighted by what they add. */
  delta(x: DeviceTensor, mlp: Mlp, out: DeviceTensor, choice: NeuronChoice): void {
    const ops = this.#ops;
    const { batch, group } = this.#mask.shape;
    const groups = groupCount(this.#mask.shape);
    const { rows } = mlp.columns(ops);
    const isAhead = this.#isChosen && this.#nextMask !== undefined;
    this.#job?.wait();
    if (isAhead) [this.#mask, this.#nextMask] = [this.#nextMask!, this.#mask];
    // What is needed at once is chosen at once. The first of all masks serves two deltas where masks are chosen ahead.
    else if (!this.#isChosen)
      this.#choose(
        new InlineMaskWork(ops),
        x,
        mlp,
        this.#nextMask ? [this.#mask, this.#nextMask] : [this.#mask],
        choice,
      );
    const mask = this.#mask;
    using delta = ops.memory.temporary([batch, groups, mask.capacity, group]);
    using lists = mask.lists(ops);
    ops.mlpDeltaFc1(x, mlp.fc1, mlp.activation, lists, this.#activations, delta);
    if (isAhead) this.#choose(this.#work, x, mlp, [this.#nextMask!], choice);
    this.#isChosen = this.#nextMask !== undefined;
    ops.mlpDeltaFc2(delta, lists, rows, this.#out);
    ops.copy(this.#out, out);
  }

  [Symbol.dispose](): void {
    this.#mask[Symbol.dispose]();
    this.#nextMask?.[Symbol.dispose]();
    this.#activations[Symbol.dispose]();
    this.#means[Symbol.dispose]();
    this.#otherMeans?.[Symbol.dispose]();
    this.#out[Symbol.dispose]();
  }

  /** Chooses masks from this step's input; then the means of what this step recomputes are today's. */
  #choose(work: MaskWork, x: DeviceTensor, mlp: Mlp, chosen: readonly Mask[], choice: NeuronChoice): void {
    const { batch, group, columns } = this.#mask.shape;
    const groups = groupCount(this.#mask.shape);
    const width = x.shape[2] ?? 0;
    const { norms } = mlp.columns(this.#ops);
    const recomputed = this.#mask;
    this.#redraw(chosen, choice);
    this.#isChosen = true;
    this.#job = work.start([x], (side) => {
      using tokenMeans = side.memory.temporary([batch, groups, width], "f32");
      side.blockMeans(x, group, tokenMeans);
      // fc1 is linear: its mean pre-activation is fc1 of the mean token.
      using typedMeans = side.memory.temporary([batch, groups, width]);
      side.copy(tokenMeans, typedMeans);
      using now = side.memory.temporary([batch, groups, columns], "f32");
      side.linear(typedMeans, mlp.fc1, now);
      this.#select(side, { now, before: this.#means, norms }, chosen, choice.select);
      using lists = recomputed.lists(side);
      side.updateChosen(now, lists, this.#means);
    });
  }

  #select(
    ops: Ops,
    { now, before, norms }: Record<"now" | "before" | "norms", DeviceTensor>,
    chosen: readonly Mask[],
    selector: Selector,
  ): void {
    const { batch, columns } = this.#mask.shape;
    const groups = groupCount(this.#mask.shape);
    using scores = ops.memory.temporary([batch, groups, columns], "f32");
    ops.neuronScores(now, before, norms, scores);
    for (const mask of chosen)
      mask.select(ops, scores.reshape(batch, 1, groups, columns), selector)[Symbol.dispose]();
  }

  #redraw(chosen: readonly Mask[], { draw }: NeuronChoice): void {
    const drawn = draw();
    if (drawn) for (const mask of chosen) mask.setAlways(drawn);
  }
}

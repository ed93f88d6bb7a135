import type { DeviceTensor } from "../../../ffi/index.ts";
import type { TextShape } from "../../delta/text-tokens.ts";
import type { Ops } from "../../nn/index.ts";
import type { Branch, Conditioning, TokenLayout } from "../family.ts";
import { imagePositionIds } from "./latents.ts";
import type { FluxTransformer, Positions } from "./transformer.ts";

/** Text states of one prompt, and guidance where the checkpoint was distilled with it. */
export interface FluxTextStates {
  /** [batch, textTokens, jointDim] */
  readonly context: DeviceTensor;
  /** [batch, pooledDim] */
  readonly pooled: DeviceTensor;
  readonly guidance: number | null;
  /** What the states belong to; disposed with the conditioning. */
  readonly owner: Disposable;
}

/** FLUX.1 is distilled: one branch, told its guidance as a number. Text stands before the picture. */
export class FluxConditioning implements Conditioning {
  readonly branches: readonly Branch[];
  readonly text: TextShape;
  readonly #owned = new DisposableStack();

  constructor(ops: Ops, transformer: FluxTransformer, states: FluxTextStates, layout: TokenLayout) {
    const { context, pooled, guidance, owner } = states;
    const [batch = 0, textTokens = 0] = context.shape;
    const [, rows, columns] = layout.grid;
    this.#owned.use(owner);
    const positions: Positions = this.#owned.use(
      transformer.prepare({
        textIds: new Float32Array(textTokens * 3),
        imageIds: reorderIds(imagePositionIds(rows, columns), layout.order.order),
      }),
    );
    const each = (value: number) => Array.from({ length: batch }, () => value);
    this.text = { textTokens, textPosition: "first" };
    this.branches = [
      {
        name: "conditional",
        forward(latents, { sigma }, modules, velocity) {
          using hidden = ops.memory.temporary(latents.shape);
          ops.copy(latents, hidden);
          using out = ops.memory.temporary(velocity.shape);
          const scale = guidance === null ? undefined : each(guidance);
          transformer.forward(
            { hidden, context, pooled, positions, timestep: each(sigma), guidance: scale, modules },
            out,
          );
          ops.copy(out, velocity);
        },
      },
    ];
  }

  /** One branch needs no combining. */
  combine(): void {}

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

function reorderIds(ids: Float32Array, order: Int32Array): Float32Array {
  const reordered = new Float32Array(ids.length);
  order.forEach((from, to) => reordered.set(ids.subarray(from * 3, from * 3 + 3), to * 3));
  return reordered;
}

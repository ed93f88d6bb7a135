import type { DeviceTensor } from "../../ffi/index.ts";
import type { Mlp, Ops, QueryKeyValue } from "../nn/index.ts";

/**
 * The modules a transformer is made of, as a network asks for them. A network does not know whether they run dense,
 * column-sparse or from a cache. What it hands over (q, k, v, x, and attention's out) it may dispose at once but must not
 * overwrite: the mask stream may read it for a while.
 */
export interface Modules {
  /**
   * Runs a network's blocks, in order; block i holds the modules of layer i. The sum that neighbouring blocks add to the
   * states may be taken from an earlier step, without running them.
   * @param states rows [batch, tokens, width] that every block reads and adds to
   * @param options `modulatedInput` makes what the first block's modulated norm gives, a temporary for the caller to
   *   dispose; called only where it is observed
   */
  blocks(
    states: DeviceTensor,
    blocks: readonly (() => void)[],
    options?: { readonly modulatedInput?: () => DeviceTensor },
  ): void;

  /**
   * Self-attention of one layer. `project` fills and returns q, k, v; it is not called when their product is reused.
   * Keys are the queries' tokens, without those that a text mask leaves out.
   * @param out [batch, heads, tokens, headDim], any strides
   */
  attention(layer: number, project: () => QueryKeyValue, scale: number, out: DeviceTensor): void;

  /** Cross-attention of one layer, to keys of its own; as `attention`, but never column-sparse. */
  crossAttention(layer: number, project: () => QueryKeyValue, scale: number, out: DeviceTensor): void;

  /**
   * Tells early what `mlp` of the same layer will be given, so that what is chosen from it is chosen beside the work
   * between the two. Where there is none, `mlp` alone will do.
   */
  prepareMlp(layer: number, x: DeviceTensor, mlp: Mlp): void;

  /**
   * Two dense layers with an activation between them.
   * @param x rows [batch, tokens, d]
   * @param out rows [batch, tokens, n]
   */
  mlp(layer: number, x: DeviceTensor, mlp: Mlp, out: DeviceTensor): void;
}

/** Every module dense, nothing remembered. */
export function denseModules(ops: Ops): Modules {
  const attention: Modules["attention"] = (_layer, project, scale, out) =>
    ops.attention(project(), out, { scale });
  return {
    blocks: (_states, blocks) => blocks.forEach((run) => run()),
    attention,
    crossAttention: attention,
    prepareMlp: () => {},
    mlp: (_layer, x, mlp, out) => mlp.dense(ops, x, out),
  };
}

import type { DeviceTensor } from "../../ffi/index.ts";
import type { Mlp, Ops, QueryKeyValue } from "../nn/index.ts";

/**
 * The two kinds of module a transformer layer is made of, as a network asks for them. A network does not know whether
 * they run dense, column-sparse or from a cache.
 */
export interface Modules {
  /**
   * Attention of one layer. `project` fills and returns q, k, v; it is not called when their product is reused.
   * @param out [batch, heads, tokens, headDim], any strides
   */
  attention(layer: number, project: () => QueryKeyValue, scale: number, out: DeviceTensor): void;

  /**
   * Two dense layers with an activation between them.
   * @param x rows [batch, tokens, d]
   * @param out rows [batch, tokens, n]
   */
  mlp(layer: number, x: DeviceTensor, mlp: Mlp, out: DeviceTensor): void;
}

/** Every module dense, nothing remembered. */
export function denseModules(ops: Ops): Modules {
  return {
    attention: (_layer, project, scale, out) => ops.attention(project(), out, { scale }),
    mlp: (_layer, x, mlp, out) => mlp.dense(ops, x, out),
  };
}

/**
 * What one module of one layer does at one step (`docs/deltas.md`):
 * - `dense`: everything, nothing remembered for deltas
 * - `refresh`: everything, and a new mask and cache
 * - `delta`: the chosen columns only, merged with the cache
 * - `reuse`: nothing, the kept output stands
 */
export type Action = "dense" | "refresh" | "delta" | "reuse";

/** What a whole step does with one branch: `run` the network, or `skip` it and carry its last output on. */
export type StepAction = "run" | "skip";

/** Self-attention, cross-attention, the two dense layers with an activation between them, a whole block. */
export type ModuleKind = "attention" | "cross" | "mlp" | "block";

interface ModuleIdentity {
  readonly layer: number;
  /** Unique within its layer. */
  readonly id: string;
}

export interface AttentionDescription extends ModuleIdentity {
  readonly kind: "attention" | "cross";
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly headDim: number;
}

export interface MlpDescription extends ModuleIdentity {
  readonly kind: "mlp";
  readonly tokens: number;
  readonly width: number;
  readonly hidden: number;
  readonly outputs: number;
}

/** A block as a whole: what it adds to the states, its residual, may be kept. */
export interface BlockDescription extends ModuleIdentity {
  readonly kind: "block";
  readonly tokens: number;
  readonly width: number;
}

/** A module of a network, with the sizes it has in one evaluation; a network lists them in the order they run. */
export type ModuleDescription = AttentionDescription | MlpDescription | BlockDescription;

/** One module of one layer in one branch at one step: the unit a plan decides about. */
export interface Cell {
  readonly step: number;
  readonly branch: number;
  readonly layer: number;
  /** The module's id. */
  readonly module: string;
}

/** Neighbouring layers from..to-1, whose summed residual is one cell: module "block" of layer `from`. */
export interface BlockRange {
  readonly from: number;
  readonly to: number;
}

/** Floating-point operations of a module run dense; a block's are those of its modules. */
export function denseOperations(module: ModuleDescription, batch: number): number {
  switch (module.kind) {
    case "attention":
    case "cross":
      return 4 * batch * module.heads * module.queries * module.keys * module.headDim;
    case "mlp":
      return 2 * batch * module.tokens * module.hidden * (module.width + module.outputs);
    case "block":
      return 0;
  }
}

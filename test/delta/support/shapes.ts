import type { ModuleDescription } from "../../../src/delta/cells.ts";
import type { RunShape } from "../../../src/delta/policy.ts";

/** A run of a network of equal layers, each an attention and an MLP. */
export function shapeOf(steps: number, layers: number): RunShape {
  const modules = Array.from({ length: layers }, (_, layer): ModuleDescription[] => [
    { layer, id: "attention", kind: "attention", heads: 2, queries: 512, keys: 512, headDim: 64 },
    { layer, id: "mlp", kind: "mlp", tokens: 512, width: 128, hidden: 512, outputs: 128 },
  ]).flat();
  return { steps, branches: 1, modules, textTokens: 0 };
}

import { z } from "zod";
import { TamiasError } from "../../ffi/errors.ts";
import type { Backend } from "../../ffi/index.ts";

const share = z.number().min(0).max(100);
const count = z.number().min(0);

/**
 * What deltas cost on one machine, relative to dense (`docs/deltas.md`, "Cost model"). `tamias bench costs` measures
 * them; the shipped ones need only be right about which side of dense a delta falls.
 */
export const costsSchema = z.strictObject({
  /** What they were measured on, for people. */
  device: z.string().optional(),
  attention: z.strictObject({
    /** Time of a chosen key, relative to a key of dense attention. */
    gather: share,
    /** Time a delta takes besides its products, in operations of dense attention. */
    overheadOperations: count,
  }),
  mlp: z.strictObject({
    /** Time of a chosen neuron, relative to a neuron of the dense pair. */
    gather: share,
    /** Choosing neurons, as a share of the dense pair: fc1 on group means, scores and selection. */
    selection: share,
    /** Time a delta takes besides, in operations of the dense pair. */
    overheadOperations: count,
  }),
});
export type Costs = z.output<typeof costsSchema>;

/**
 * Costs from a file that `tamias bench costs --out` wrote.
 * @throws TamiasError `not_found`, or `bad_input` naming what is not as expected
 */
export async function readCosts(path: string): Promise<Costs> {
  const file = Bun.file(path);
  if (!(await file.exists()))
    throw new TamiasError("not_found", `There is no file ${path} of costs.`, {
      hint: `"tamias bench costs --out ${path}" measures them.`,
    });
  let value: unknown;
  try {
    value = await file.json();
  } catch (cause) {
    throw new TamiasError("bad_input", `${path} is not valid JSON.`, { cause });
  }
  const costs = costsSchema.safeParse(value);
  if (costs.success) return costs.data;
  const [issue] = costs.error.issues;
  throw new TamiasError(
    "bad_input",
    `${path} holds no costs: at "${issue?.path.join(".")}": ${issue?.message}.`,
  );
}

export const defaultCosts: Readonly<Record<Backend, Costs>> = {
  cpu: {
    attention: { gather: 1.25, overheadOperations: 0 },
    mlp: { gather: 1.25, selection: 0.06, overheadOperations: 0 },
  },
  // 15 and 60 microseconds of launches at 600 TFLOP/s: short sequences run dense.
  cuda: {
    attention: { gather: 1.5, overheadOperations: 9e9 },
    mlp: { gather: 1.5, selection: 0.01, overheadOperations: 36e9 },
  },
};

/** What a module costs dense, and the share of its columns that a delta computes. */
export interface DeltaOffer {
  /** Operations of the dense module. */
  readonly operations: number;
  /** Dense groups included. */
  readonly density: number;
}

/** Whether a delta is predicted to take less time than dense. */
export class CostModel {
  readonly #costs: Costs;

  constructor(costs: Costs) {
    this.#costs = costs;
  }

  attentionDeltaPays({ operations, density }: DeltaOffer): boolean {
    const { gather, overheadOperations } = this.#costs.attention;
    return density * gather + overheadOperations / operations < 1;
  }

  /** @param group tokens that share a mask @param tokens all tokens */
  mlpDeltaPays({ operations, density }: DeltaOffer, group: number, tokens: number): boolean {
    const { gather, selection, overheadOperations } = this.#costs.mlp;
    const means = 0.5 / Math.min(group, Math.max(1, tokens));
    return density * gather + selection + means + overheadOperations / operations < 1;
  }
}

import { dtypes } from "../../ffi/index.ts";
import { elementCount } from "../../ffi/tensor.ts";
import { AttentionCache } from "./attention-cache.ts";
import {
  activationTypeOf,
  countElements,
  type DeviceShape,
  layOutCaches,
  type ModuleLayout,
} from "./cache-layout.ts";
import type { ModuleDescription } from "./cells.ts";
import { CostModel, type Costs, defaultCosts } from "./cost-model.ts";
import { groupCount } from "./mask.ts";
import { MlpCache } from "./mlp-cache.ts";
import type { Plan, RunShape } from "./policy.ts";

/** What a run keeps from step to step, in bytes. */
export interface NeedsByPart {
  /** What attention remembers of the unchosen keys. */
  readonly attentionOutputs: number;
  /** The same of the refresh before, for forecasts. */
  readonly attentionForecasts: number;
  readonly logSumExps: number;
  /** Chosen columns and their counts. */
  readonly masks: number;
  readonly mlpActivations: number;
  readonly mlpMeans: number;
  readonly mlpOutputs: number;
  /** Outputs of modules that may be reused. */
  readonly keptOutputs: number;
  /** Residuals of ranges of blocks that may be reused. */
  readonly residuals: number;
}

/** The delta caches of one module in one branch. */
export interface CacheNeeds {
  readonly branch: number;
  readonly module: ModuleDescription;
  /** Bytes on the device, where all of it is there. */
  readonly bytes: number;
  /** Of these, what may lie in host memory instead; 0 for an MLP. */
  readonly movableBytes: number;
  /** Tensors that these are, and the largest of them in bytes. */
  readonly movableTensors: number;
  readonly largestMovable: number;
}

export interface DeltaNeeds {
  readonly parts: NeedsByPart;
  /** Sum of the parts: device memory where nothing is placed elsewhere. */
  readonly bytes: number;
  /** In the order the modules run. */
  readonly caches: readonly CacheNeeds[];
  /** Outputs and residuals that a policy may reuse: never placed elsewhere. */
  readonly fixedBytes: number;
  /** The largest temporaries of a refresh beside the network's own: column sums, expanded lists, log-sum-exps. */
  readonly temporaryBytes: number;
}

/**
 * What a run will keep, before it starts. What a plan observes comes on top: at most one copy of the states for each
 * signal and branch.
 * @param device the device, or what is to be assumed of one
 * @throws TamiasError `bad_input` as the run itself would
 */
export function deltaNeeds(plan: Plan, shape: RunShape, device: DeviceShape, costs?: Costs): DeltaNeeds {
  const model = new CostModel(costs ?? defaultCosts[device.backend]);
  const layouts = layOutCaches(plan, shape, device, model);
  const parts = {
    attentionOutputs: 0,
    attentionForecasts: 0,
    logSumExps: 0,
    masks: 0,
    mlpActivations: 0,
    mlpMeans: 0,
    mlpOutputs: 0,
    keptOutputs: 0,
    residuals: 0,
  };
  let fixedBytes = 0;
  let temporaryBytes = 0;
  const caches: CacheNeeds[] = [];
  for (const layout of layouts) {
    const { branch, module, attention, mlp } = layout;
    const kept = keptBytes(layout, device);
    parts[module.kind === "block" ? "residuals" : "keptOutputs"] += kept;
    fixedBytes += kept;
    const counts = countElements([layout]) * 4;
    parts.masks += counts;
    const need = { branch, module, bytes: counts, movableBytes: 0, movableTensors: 0, largestMovable: 0 };
    for (const range of attention) {
      const bytes = AttentionCache.bytes(range);
      parts.attentionOutputs += bytes.outputs;
      parts.attentionForecasts += bytes.earlierOutputs;
      parts.logSumExps += bytes.logSumExps;
      parts.masks += bytes.masks;
      need.movableBytes += bytes.outputs + bytes.earlierOutputs;
      need.bytes += bytes.outputs + bytes.earlierOutputs + bytes.logSumExps + bytes.masks;
      need.movableTensors += Number(bytes.outputs > 0) + Number(bytes.earlierOutputs > 0);
      need.largestMovable = Math.max(need.largestMovable, bytes.outputs);
      const { shape: mask, capacity } = range.mask;
      const lists = mask.batch * mask.lists * groupCount(mask);
      const temporaries = lists * (mask.columns + capacity) * 4 + bytes.logSumExps;
      temporaryBytes = Math.max(temporaryBytes, temporaries);
    }
    if (mlp) {
      const bytes = MlpCache.bytes(mlp);
      parts.mlpActivations += bytes.activations;
      parts.mlpMeans += bytes.means;
      parts.mlpOutputs += bytes.outputs;
      parts.masks += bytes.masks;
      need.bytes += bytes.activations + bytes.means + bytes.outputs + bytes.masks;
    }
    if (need.bytes > 0) caches.push(need);
  }
  const bytes = Object.values(parts).reduce((sum, part) => sum + part, 0);
  return { parts, bytes, caches, fixedBytes, temporaryBytes };
}

function keptBytes({ kept }: ModuleLayout, { backend }: DeviceShape): number {
  return kept ? elementCount(kept) * dtypes[activationTypeOf(backend)].bytes : 0;
}

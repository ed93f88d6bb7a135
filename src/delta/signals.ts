/**
 * What a plan may observe of a run, each a relative change, sum |now - before| / sum |before|:
 * - `modulatedInput`: of what the first block's modulated norm makes of the states, since the step before that ran
 * - `firstBlockResidual`: of what the first block adds to the states, likewise
 * - `velocity`: of a branch's output, likewise
 * - `cacheError`: at a refresh, of a delta's output from dense, had the cell been one
 */
export type SignalKind = "modulatedInput" | "firstBlockResidual" | "velocity" | "cacheError";

export interface Signal {
  readonly kind: SignalKind;
  readonly relativeChange: number;
  /** `cacheError` only: whose cache. */
  readonly layer?: number;
  readonly module?: string;
}

export interface Observation {
  readonly step: number;
  readonly branch: number;
  readonly signal: Signal;
}

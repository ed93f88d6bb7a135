import { type Action, denseOperations, type ModuleDescription, type ModuleKind } from "./cells.ts";
import type { CountSlot } from "./counts.ts";
import type { TransferReport } from "./host-caches.ts";
import type { Mask } from "./mask.ts";

/** What one module of one layer did in a step. */
export interface CellReport {
  readonly branch: number;
  readonly layer: number;
  /** The module's id. */
  readonly module: string;
  readonly action: Action;
  /** Share of this module's columns that was computed, 0..1, as delivered by the device. */
  readonly density: number;
  /** Share of rows that recomputed each column, [columns]; for deltas of a run that records columns. */
  readonly columnFrequency?: Float32Array;
}

export interface DensityReport {
  /** Share of the modules' multiplications that was done, 0..1. */
  readonly density: number;
  readonly attentionDensity: number;
  readonly mlpDensity: number;
  readonly cells: readonly CellReport[];
  /** Cells that had to wait for their mask; always 0 where masks are chosen in turn. */
  readonly lateMasks: number;
  /** What moving caches between host and device took; where some are in host memory. */
  readonly transfers?: TransferReport;
}

/** What a step did, still on the device. */
export interface StepReport extends Disposable {
  /** Call it once the stream has got this far. Waits for nothing else, unless columns are recorded. */
  read(): DensityReport;
}

/** A mask that a delta recomputed, and its share of the module. */
export interface MaskPart {
  /** Names the mask within the run. */
  readonly name: string;
  readonly mask: Mask;
  /** The rows' share of the module's operations, 0..1. */
  readonly share: number;
}

/** A cell as it was queued. */
export interface QueuedCell {
  readonly branch: number;
  readonly layer: number;
  readonly module: string;
  readonly kind: ModuleKind;
  readonly action: Action;
  /** Floating-point operations of the dense module. */
  readonly operations: number;
  /** What a delta recomputed; heads outside of them ran dense. */
  readonly masks: readonly MaskPart[];
}

/** A cell that took its output from an earlier step. */
export function reusedCell(branch: number, module: ModuleDescription, batch: number): QueuedCell {
  return {
    branch,
    layer: module.layer,
    module: module.id,
    kind: module.kind,
    action: "reuse",
    operations: denseOperations(module, batch),
    masks: [],
  };
}

/** Reports what cells delivered, from counts that were read back. */
export function reportCell(
  { branch, layer, module, action, masks }: QueuedCell,
  countsOf: (slot: CountSlot) => Int32Array,
  { recordColumns, deliver }: { recordColumns: boolean; deliver(mask: string, density: number): void },
): CellReport {
  const cell = { branch, layer, module, action };
  if (action !== "delta") return { ...cell, density: action === "reuse" ? 0 : 1 };
  const denseShare = 1 - masks.reduce((sum, { share }) => sum + share, 0);
  let density = denseShare;
  for (const { name, mask, share } of masks) {
    const delivered = mask.deliveredDensity(countsOf(mask.countSlot));
    deliver(name, delivered);
    density += share * delivered;
  }
  if (!recordColumns) return { ...cell, density };
  const columnFrequency = new Float32Array(masks[0]?.mask.shape.columns ?? 0).fill(denseShare);
  for (const { mask, share } of masks)
    mask.columnFrequency(countsOf(mask.countSlot)).forEach((frequency, column) => {
      columnFrequency[column]! += share * frequency;
    });
  return { ...cell, density, columnFrequency };
}

/** Densities of a step, weighted by what its cells cost dense. */
export function summarise(
  queued: readonly QueuedCell[],
  cells: readonly CellReport[],
): Pick<DensityReport, "density" | "attentionDensity" | "mlpDensity"> {
  const mean = (counts: (kind: ModuleKind) => boolean) => {
    let done = 0;
    let all = 0;
    queued.forEach(({ kind, operations }, index) => {
      if (!counts(kind)) return;
      all += operations;
      done += operations * (cells[index]?.density ?? 1);
    });
    return all === 0 ? 1 : done / all;
  };
  return {
    density: mean(() => true),
    attentionDensity: mean((kind) => kind === "attention"),
    mlpDensity: mean((kind) => kind === "mlp"),
  };
}

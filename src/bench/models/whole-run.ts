import { type Device, TamiasError } from "../../../ffi/index.ts";
import { columnPolicy } from "../../delta/column-policy.ts";
import { denseModules, type Modules } from "../../delta/modules.ts";
import { deltaNeeds, type NeedsByPart } from "../../delta/needs.ts";
import type { CachePlace } from "../../delta/cache-place.ts";
import { placeCaches } from "../../delta/placement.ts";
import type { RunShape } from "../../delta/policy.ts";
import { DeltaRun, type TransferReport } from "../../delta/run.ts";
import type { Ops } from "../../nn/index.ts";
import type { RandomTensors } from "../random-tensors.ts";
import { FluxShapedNetwork } from "./flux-shaped.ts";
import type { FluxShaped } from "./shapes.ts";

/** A whole network over a few steps, in memory that was planned before. */
export interface WholeRun {
  readonly layers: number;
  readonly tokens: number;
  /** Share of the image keys that a delta computes. */
  readonly keyDensity: number;
  readonly bytes: {
    /** Device memory the plan was allowed. */
    readonly allowed: number;
    readonly weights: number;
    /** What one dense evaluation needs besides. */
    readonly denseTemporaries: number;
    /** What the caches were planned to take, on the device and on the host. */
    readonly plannedDevice: number;
    readonly plannedHost: number;
    /** The most device and host memory that was held after any step. */
    readonly held: number;
    readonly heldHost: number;
  };
  /** What the caches would take, were all of them on the device. */
  readonly needs: NeedsByPart;
  /** Layers whose attention cache lies there. */
  readonly places: Readonly<Record<CachePlace, number>>;
  readonly steps: readonly WholeStep[];
}

export interface WholeStep {
  readonly action: "dense" | "refresh" | "delta";
  /** From the first of the step's work on the device to the last. */
  readonly seconds: number;
  readonly attentionDensity: number;
  readonly transfers?: TransferReport & { readonly gigabytesPerSecond: number };
}

export interface WholeRunOptions {
  /** Device memory that the run may take, in bytes; default: what is free. */
  readonly memory?: number | undefined;
  /** Host memory for caches; default: nine tenths of what is available. */
  readonly hostMemory?: number | undefined;
}

const ACTIONS = ["dense", "refresh", "delta", "delta"] as const;
/** Share of the allowed memory left for workspaces, whose sizes only the kernels know, and for gaps between temporaries. */
const WORKSPACE_SHARE = 0.04;

/**
 * Runs a network of FLUX's blocks with random weights, all layers at once: a dense step, one that refreshes attention
 * masks and caches, and deltas. MLPs are dense. Caches are placed to fit `memory`.
 * @throws TamiasError `out_of_memory` when not every layer's cache has a place, or more memory was taken than allowed
 */
export async function runWhole(
  ops: Ops,
  random: RandomTensors,
  shape: FluxShaped,
  { memory, hostMemory = 0.9 * process.availableMemory() }: WholeRunOptions,
): Promise<WholeRun> {
  const { device } = ops.stream;
  const layers = shape.doubleBlocks + shape.singleBlocks;
  const { bytesFree, bytesAllocated } = device.info();
  const allowed = Math.min(memory ?? Number.POSITIVE_INFINITY, bytesFree + bytesAllocated);
  using network = new FluxShapedNetwork(ops, random, shape, shape.doubleBlocks, shape.singleBlocks);
  const weights = device.info().bytesAllocated;
  network.evaluate(denseModules(ops));
  await ops.stream.finished();
  const withTemporaries = device.info().bytesAllocated;

  const runShape: RunShape = {
    steps: ACTIONS.length,
    branches: 1,
    modules: network.modules,
    textTokens: shape.textTokens,
  };
  const keyDensity = shape.keyDensity;
  const plan = columnPolicy({
    attention: {
      select: { kind: "topK", density: keyDensity },
      textKeys: "scored",
      cache: { rule: "control", beta: 1 },
      forecast: 0,
      refresh: { from: 1, every: 1000 },
    },
    mlp: null,
  }).plan(runShape);
  const needs = deltaNeeds(plan, runShape, device.info());
  const room = allowed - withTemporaries - needs.temporaryBytes - WORKSPACE_SHARE * allowed;
  const placement = placeCaches(needs, { deviceBytes: room, hostBytes: hostMemory });
  const places = { device: 0, host: 0, none: 0 };
  for (const { branch, module } of needs.caches) places[placement.placeOf(branch, module)]++;
  if (!placement.fits || places.none > 0)
    throw new TamiasError(
      "out_of_memory",
      `${layers} layers of ${network.tokens} tokens keep ${gigabytes(needs.bytes)} GB in caches: beside weights and ` +
        `temporaries ${gigabytes(Math.max(0, room))} GB are left on the device and ${gigabytes(hostMemory)} GB on the host, ` +
        `and ${places.none} layers would have none.`,
      { hint: "Allow more memory (--memory), or take fewer layers (--layers) or tokens (--tokens)." },
    );

  using run = new DeltaRun(ops, plan, { ...runShape, placement });
  const steps: WholeStep[] = [];
  let [held, heldHost] = [0, 0];
  for (const [step, action] of ACTIONS.entries()) {
    steps.push(await timeStep(device, ops, run, action, step, (modules) => network.evaluate(modules)));
    const info = device.info();
    held = Math.max(held, info.bytesAllocated);
    heldHost = Math.max(heldHost, info.hostBytesAllocated);
    if (held > allowed)
      throw new TamiasError(
        "out_of_memory",
        `Step ${step} held ${gigabytes(held)} GB, ${gigabytes(allowed)} GB were allowed: this run does not fit.`,
      );
  }
  return {
    layers,
    tokens: network.tokens,
    keyDensity,
    bytes: {
      allowed,
      weights,
      denseTemporaries: withTemporaries - weights,
      plannedDevice: placement.deviceBytes,
      plannedHost: placement.hostBytes,
      held,
      heldHost,
    },
    needs: needs.parts,
    places,
    steps,
  };
}

async function timeStep(
  device: Device,
  ops: Ops,
  run: DeltaRun,
  action: WholeStep["action"],
  step: number,
  evaluate: (modules: Modules) => void,
): Promise<WholeStep> {
  using begin = device.createEvent();
  using end = device.createEvent();
  begin.record(ops.stream);
  evaluate(run.modules({ step, sigma: 1 - step / ACTIONS.length }));
  end.record(ops.stream);
  using report = run.endStep();
  await ops.stream.finished();
  const { attentionDensity, transfers, cells } = report.read();
  const ran = new Set(cells.filter(({ module }) => module === "attention").map((cell) => cell.action));
  if (ran.size !== 1 || !ran.has(action))
    throw new TamiasError(
      "internal",
      `Step ${step} was to be ${action} in every layer; it was ${[...ran].join(", ")}.`,
    );
  const seconds = begin.secondsUntil(end);
  return {
    action,
    seconds,
    attentionDensity,
    ...(transfers
      ? { transfers: { ...transfers, gigabytesPerSecond: transfers.bytes / seconds / 1e9 } }
      : {}),
  };
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}

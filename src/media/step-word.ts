import type { Action } from "../delta/policy.ts";
import type { StepEvent } from "../pipeline/events.ts";

/** The most telling first: one refreshing layer makes it a refreshing step. */
const tellingOrder: readonly Action[] = ["refresh", "delta", "reuse", "dense"];

/** What a step did, in one word: `skip`, or the most telling action among its cells. */
export function stepWord({ action, cells }: Pick<StepEvent, "action" | "cells">): Action | "skip" {
  if (action === "skip") return "skip";
  return tellingOrder.find((kind) => cells.some((cell) => cell.action === kind)) ?? "dense";
}

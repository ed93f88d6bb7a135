import { expect, test } from "bun:test";
import { columnPolicy } from "../../src/delta/column-policy.ts";
import { findPolicy, policies } from "../../src/delta/policies/index.ts";
import type { Action } from "../../src/delta/cells.ts";
import { shapeOf } from "./support/shapes.ts";

function actions(name: string, module: "attention" | "mlp", { steps = 12, layer = 4 } = {}): Action[] {
  const plan = findPolicy(name).plan(shapeOf(steps, 8));
  return Array.from({ length: steps }, (_, step) => plan.action({ step, branch: 0, layer, module }));
}

test("exact is dense everywhere", () => {
  expect(new Set([...actions("exact", "attention"), ...actions("exact", "mlp")])).toEqual(new Set(["dense"]));
});

test("chipmunk refreshes as published and leaves the first two layers dense", () => {
  const published = ["dense", "refresh", ...Array(9).fill("delta"), "refresh"] as Action[];
  expect(actions("chipmunk", "attention")).toEqual(published);
  expect(actions("chipmunk", "mlp").slice(0, 11)).toEqual([
    "refresh",
    ...Array(9).fill("delta"),
    "refresh",
  ] as Action[]);
  expect(new Set(actions("chipmunk", "attention", { layer: 1 }))).toEqual(new Set(["dense"]));
});

test.each(policies)("$name never asks for a delta before a refresh, for any number of steps", (policy) => {
  for (const steps of [1, 2, 3, 7, 20, 50]) {
    const plan = policy.plan(shapeOf(steps, 4));
    for (const module of ["attention", "mlp"] as const) {
      let filled = false;
      for (let step = 0; step < steps; step++) {
        if (plan.stepAction(step, 0) === "skip") continue;
        const action = plan.action({ step, branch: 0, layer: 3, module });
        if (action === "refresh") filled = true;
        if (action === "delta") expect(filled).toBe(true);
      }
    }
    expect(plan.stepAction(0, 0)).toBe("run");
    expect(plan.stepAction(steps - 1, 0)).toBe("run");
  }
});

test("a refresh that falls on a skipped step moves to the next that runs", () => {
  const policy = columnPolicy({
    attention: { select: { kind: "topK", density: 0.2 }, refresh: { from: 0, every: 4 } },
    mlp: null,
    skip: { from: 2, until: 1, every: 3 },
  });
  const plan = policy.plan(shapeOf(12, 1));
  const seen = Array.from({ length: 12 }, (_, step) =>
    plan.stepAction(step, 0) === "skip"
      ? "skip"
      : plan.action({ step, branch: 0, layer: 0, module: "attention" }),
  );
  expect(seen[4]).toBe("skip");
  expect(seen[5]).toBe("refresh");
});

test("unknown names and settings out of range get a clear error", () => {
  expect(() => findPolicy("balancd")).toThrow(/no policy "balancd"/);
  expect(() => findPolicy({ attention: null, mlp: { select: { kind: "topK", density: 2 } } })).toThrow(/mlp/);
  expect(() => findPolicy({ attention: null, mlp: null, speed: 11 })).toThrow(/policy/);
});

import { describe, expect, test } from "bun:test";
import type { TextShape } from "../../src/delta/text-tokens.ts";
import { TextTokens } from "../../src/delta/text-tokens.ts";
import { withOps } from "../models/with-ops.ts";
import { deltasOf, runSteps } from "./support/plans.ts";
import { inputsOf, SmallNetwork } from "./support/small-network.ts";

const marks = (text: TextTokens, keys: number): number[] => {
  const marked = new Uint8Array(keys);
  text.markKeys(marked);
  return [...marked];
};

test("text keys and groups stand where the text stands", () => {
  const first = new TextTokens({ textTokens: 3 });
  expect(marks(first, 8)).toEqual([1, 1, 1, 0, 0, 0, 0, 0]);
  expect([...first.markGroups(8, 2)]).toEqual([1, 1, 0, 0]);
  const last = new TextTokens({ textTokens: 3, textPosition: "last" });
  expect(marks(last, 8)).toEqual([0, 0, 0, 0, 0, 1, 1, 1]);
  expect([...last.markGroups(8, 2)]).toEqual([0, 0, 1, 1]);
  const apart = new TextTokens({ textTokens: 3, textPosition: "apart" });
  expect(marks(apart, 4)).toEqual([0, 0, 0, 0]);
  expect([...apart.markGroups(4, 2)]).toEqual([0, 0]);
});

test("masked text is no key, but its queries are text all the same", () => {
  const text = new TextTokens({ textTokens: 4, textPosition: "last", maskedText: 1 });
  expect(text.queries).toBe(4);
  // Keys are the queries' tokens without the three that are masked.
  expect(marks(text, 6)).toEqual([0, 0, 0, 0, 0, 1]);
  expect([...text.markGroups(9, 3)]).toEqual([0, 1, 1]);
  expect(() => new TextTokens({ textTokens: 4, maskedText: 5 })).toThrow(/4 text tokens/);
});

describe("deltas of a run with text", () => {
  const TEXT = 40;
  const GROUP = 32;
  const cases: [string, Omit<TextShape, "textTokens">, number][] = [
    ["first", { textPosition: "first" }, 2],
    ["last", { textPosition: "last" }, 2],
    ["apart", { textPosition: "apart" }, 0],
  ];
  test.each(cases)("%s: text queries are dense, text keys in every list", (_, text, denseGroups) =>
    withOps((ops) => {
      using network = new SmallNetwork(ops, { layers: 1 });
      const { tokens } = network;
      const select = { kind: "topK", density: 0.25 };
      const { reports } = runSteps(network, inputsOf(network, 2), deltasOf({ attention: { select } }), {
        textTokens: TEXT,
        ...text,
        recordColumns: true,
      });
      const cell = reports[1]!.cells.find(({ module }) => module === "attention")!;
      const groups = tokens / GROUP;
      const textKeys = denseGroups === 0 ? 0 : TEXT;
      const list = Math.ceil(((textKeys + 0.25 * (tokens - textKeys)) / tokens) * tokens);
      expect(cell.density).toBeCloseTo((denseGroups + (groups - denseGroups) * (list / tokens)) / groups, 6);
      const always = [...cell.columnFrequency!].map((frequency) => frequency > 0.9999);
      const expected = new Uint8Array(tokens);
      new TextTokens({ textTokens: TEXT, ...text }).markKeys(expected);
      if (denseGroups > 0) expect(always.map(Number)).toEqual([...expected]);
      else expect(always.filter(Boolean).length).toBeLessThan(tokens / 4);
    }),
  );
});

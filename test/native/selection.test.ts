import { expect } from "bun:test";
import type { DeviceTensor } from "../../ffi/index.ts";
import { coverMass, type Selection, topK } from "./reference/selection.ts";
import {
  type Bench,
  type Chosen,
  nativeTests,
  type Operand,
  readMask,
  rowLayouts,
  Values,
} from "./support.ts";

const native = await nativeTests();

/** Scores of some groups, with always-columns and dense groups. */
interface Problem {
  readonly scores: Operand;
  readonly always: Operand | undefined;
  readonly denseGroups: Operand | undefined;
  readonly capacity: number;
  readonly columns: number;
}

interface ProblemOptions {
  readonly columns?: number;
  readonly capacity?: number;
  readonly score?: () => number;
}

function randomProblem(bench: Bench, options: ProblemOptions = {}): Problem {
  const { random } = bench;
  const shape = [random.integer(1, 2), random.integer(1, 3), random.integer(1, 4)];
  const { columns = random.pick([1, random.integer(2, 40), random.integer(100, 700), 4608]) } = options;
  const alwaysCount = random.chance(0.5) ? random.integer(0, Math.ceil(columns / 4)) : 0;
  const always = new Set(random.subset(alwaysCount, columns));
  const { capacity = random.chance(0.7) ? columns : random.integer(Math.max(1, alwaysCount), columns) } =
    options;
  const { score = () => random.uniform(0, 1) ** 3 } = options;
  const scores = new Values([...shape, columns]).map(score);
  return {
    scores: bench.input(scores, { layout: random.pick(rowLayouts) }),
    always:
      alwaysCount > 0
        ? bench.input(
            Values.build([columns], (column = 0) => (always.has(column) ? random.integer(1, 255) : 0)),
            {
              dtype: "u8",
            },
          )
        : undefined,
    denseGroups: random.chance(0.4)
      ? bench.input(
          new Values([shape[2] ?? 0]).map(() => (random.chance(0.3) ? 1 : 0)),
          { dtype: "u8" },
        )
      : undefined,
    capacity,
    columns,
  };
}

/** One group of a problem as the reference wants it. */
function selectionOf({ scores, always, capacity }: Problem, index: readonly number[]): Selection {
  const columns = always ? [...always.values.data].flatMap((flag, column) => (flag > 0 ? [column] : [])) : [];
  return { scores: scores.values.row(...index), capacity, always: new Set(columns) };
}

/** Runs a selection and gives its lists, each with the group's index; dense groups are checked here. */
function select(
  bench: Bench,
  problem: Problem,
  run: (
    rules: [DeviceTensor | null, DeviceTensor | null],
    indices: DeviceTensor,
    counts: DeviceTensor,
  ) => void,
): { index: number[]; list: readonly number[] }[] {
  const { scores, always, denseGroups, capacity, columns } = problem;
  const shape = scores.tensor.shape.slice(0, 3);
  const dtype = columns <= 65_536 && bench.random.chance(0.5) ? "u16" : "i32";
  const indices = bench.output([...shape, capacity], { dtype });
  const counts = bench.output(shape, { dtype: "i32" });
  run([always?.tensor ?? null, denseGroups?.tensor ?? null], indices.tensor, counts.tensor);
  const [, lists = 0, groups = 0] = shape;
  return readMask(indices, counts).flatMap((list: Chosen, at) => {
    const index = [Math.floor(at / lists / groups), Math.floor(at / groups) % lists, at % groups];
    const isDense = denseGroups !== undefined && denseGroups.values.at(at % groups) > 0;
    expect(list === "all", `group ${index.join(", ")} of ${shape.join(", ")} is dense`).toBe(isDense);
    return list === "all" ? [] : [{ index, list }];
  });
}

function checkTopK(bench: Bench, problem: Problem, k: number): void {
  const lists = select(bench, problem, (rules, indices, counts) =>
    bench.call("tamias_select_top_k", problem.scores.tensor, k, ...rules, indices, counts),
  );
  const what = `top ${k} of ${problem.columns}, capacity ${problem.capacity}`;
  for (const { index, list } of lists) expect(list, what).toEqual(topK(selectionOf(problem, index), k));
}

function checkMass(bench: Bench, problem: Problem, mass: number, minimum: number, maximum: number): void {
  const lists = select(bench, problem, (rules, indices, counts) =>
    bench.call(
      "tamias_select_mass",
      problem.scores.tensor,
      mass,
      minimum,
      maximum,
      ...rules,
      indices,
      counts,
    ),
  );
  const what = `mass ${mass} of ${problem.columns}, ${minimum} to ${maximum}, capacity ${problem.capacity}`;
  for (const { index, list } of lists)
    expect(list, what).toEqual(coverMass(selectionOf(problem, index), mass, { minimum, maximum }));
}

native.test("top-k is what sorting gives", (bench) => {
  for (let round = 0; round < 30; round++) {
    const problem = randomProblem(bench);
    const k = bench.random.pick([
      0,
      1,
      bench.random.integer(0, problem.columns),
      problem.columns,
      problem.columns + 5,
    ]);
    checkTopK(bench, problem, k);
  }
});

native.test("top-k with many ties takes the lower columns", (bench) => {
  for (let round = 0; round < 15; round++) {
    const score = () => bench.random.integer(-1, 2);
    const problem = randomProblem(bench, { score });
    checkTopK(bench, problem, bench.random.integer(0, problem.columns));
  }
  checkTopK(bench, randomProblem(bench, { score: () => 0, columns: 100 }), 37);
});

native.test("top-k puts NaN below everything, and knows infinities, signs and tiny numbers", (bench) => {
  const special = [NaN, -NaN, Infinity, -Infinity, 0, -0, 1e-40, -1e-40, 1, -1, 3e38, -3e38];
  for (let round = 0; round < 20; round++) {
    const problem = randomProblem(bench, {
      score: () => bench.random.pick(special),
      columns: bench.random.integer(1, 90),
    });
    checkTopK(bench, problem, bench.random.integer(0, problem.columns));
  }
  checkTopK(bench, randomProblem(bench, { score: () => NaN, columns: 20 }), 7);
});

native.test("always-columns come first when the capacity is short", (bench) => {
  for (let round = 0; round < 10; round++) {
    const columns = bench.random.integer(20, 200);
    const problem = randomProblem(bench, {
      columns,
      capacity: Math.ceil(columns / 4) + bench.random.integer(0, 5),
    });
    checkTopK(bench, problem, bench.random.integer(0, columns));
  }
});

native.test("mass takes the fewest best columns that reach it", (bench) => {
  for (let round = 0; round < 30; round++) {
    // Whole scores sum without rounding, so that the goal is met or missed exactly.
    const score = () => bench.random.integer(-2, 30);
    const problem = randomProblem(bench, { score });
    const mass = bench.random.pick([0, 0.25, 0.5, 0.75, 1]);
    checkMass(bench, { ...problem }, mass, 0, problem.columns);
  }
});

native.test("mass respects its minimum and maximum", (bench) => {
  for (let round = 0; round < 15; round++) {
    const problem = randomProblem(bench, {
      score: () => bench.random.integer(0, 9),
      columns: bench.random.integer(4, 90),
    });
    const always = problem.always?.values.data.filter((flag) => flag > 0).length ?? 0;
    const maximum = bench.random.integer(Math.max(1, always), problem.columns);
    checkMass(bench, problem, bench.random.pick([0, 0.5, 1]), bench.random.integer(0, maximum), maximum);
  }
});

native.test("mass of nothing, of NaN and of negative scores", (bench) => {
  for (const score of [() => 0, () => -1, () => bench.random.pick([NaN, 1, 2]), () => NaN])
    for (const mass of [0, 0.5, 1])
      checkMass(bench, randomProblem(bench, { score, columns: 33 }), mass, 3, 20);
});

native.test("mass of real-valued scores is reached, and not by one column too many", (bench) => {
  for (let round = 0; round < 10; round++) {
    const problem = {
      ...randomProblem(bench, { columns: 1000, capacity: 1000 }),
      always: undefined,
      denseGroups: undefined,
    };
    const mass = Math.fround(bench.random.uniform(0.1, 0.95));
    const lists = select(bench, problem, (rules, indices, counts) =>
      bench.call("tamias_select_mass", problem.scores.tensor, mass, 0, 1000, ...rules, indices, counts),
    );
    for (const { index, list } of lists) {
      const selection = selectionOf(problem, index);
      expect(list).toEqual(topK(selection, list.length));
      const sum = (columns: readonly number[]) =>
        columns.reduce((total, at) => total + (selection.scores[at] ?? NaN), 0);
      const total = sum(Array.from({ length: 1000 }, (_, column) => column));
      expect(sum(list)).toBeGreaterThanOrEqual(total * (mass - 1e-5));
      expect(sum(topK(selection, list.length - 1))).toBeLessThanOrEqual(total * (mass + 1e-5));
    }
  }
});

native.test("threshold takes the columns above mean + z deviations", (bench) => {
  for (let round = 0; round < 30; round++) {
    const problem = randomProblem(bench, { columns: bench.random.pick([1, 2, 50, 700, 4608]) });
    const z = Math.fround(bench.random.uniform(-1, 3));
    const lists = select(bench, problem, (rules, indices, counts) =>
      bench.call(
        "tamias_select_threshold",
        problem.scores.tensor,
        z,
        problem.columns,
        ...rules,
        indices,
        counts,
      ),
    );
    for (const { index, list } of lists) {
      const selection = selectionOf(problem, index);
      const { above, near } = aroundThreshold(selection.scores, z);
      const certain = new Set([...above, ...selection.always]);
      const what = `z ${z} of ${problem.columns}, capacity ${problem.capacity}`;
      expectAscending(list, what);
      if (certain.size + near.size <= problem.capacity) {
        for (const column of certain) expect(list, what).toContain(column);
        for (const column of list)
          expect(certain.has(column) || near.has(column), `${what}: column ${column}`).toBe(true);
      } else if (certain.size > problem.capacity) {
        expect(list, what).toEqual(topK(selection, problem.capacity));
      }
    }
  }
});

native.test("threshold beyond its maximum keeps the best", (bench) => {
  for (let round = 0; round < 10; round++) {
    const problem = { ...randomProblem(bench, { columns: 300, capacity: 300 }), always: undefined };
    const maximum = bench.random.integer(1, 20);
    const lists = select(bench, problem, (rules, indices, counts) =>
      bench.call("tamias_select_threshold", problem.scores.tensor, 0, maximum, ...rules, indices, counts),
    );
    for (const { index, list } of lists) expect(list).toEqual(topK(selectionOf(problem, index), maximum));
  }
});

native.test("threshold never chooses NaN for its score", (bench) => {
  const problem = {
    ...randomProblem(bench, { columns: 200, capacity: 200, score: () => bench.random.pick([NaN, 1, 2, 30]) }),
    always: undefined,
  };
  const lists = select(bench, problem, (rules, indices, counts) =>
    bench.call("tamias_select_threshold", problem.scores.tensor, 0.5, 200, ...rules, indices, counts),
  );
  for (const { index, list } of lists) {
    const scores = problem.scores.values.row(...index);
    for (const column of list) expect(scores[column]).not.toBeNaN();
  }
});

native.test("equal scores are not above their mean", (bench) => {
  const problem = {
    ...randomProblem(bench, { columns: 64, capacity: 64, score: () => 0.5 }),
    always: undefined,
  };
  const lists = select(bench, problem, (rules, indices, counts) =>
    bench.call("tamias_select_threshold", problem.scores.tensor, 0, 64, ...rules, indices, counts),
  );
  for (const { list } of lists) expect(list).toEqual([]);
});

/** Columns surely above mean + z * deviation, and those that rounding may put on either side. */
function aroundThreshold(scores: Float64Array, z: number): { above: Set<number>; near: Set<number> } {
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  const deviation = Math.sqrt(scores.reduce((sum, score) => sum + (score - mean) ** 2, 0) / scores.length);
  const threshold = mean + z * deviation;
  const doubt = 1e-5 * (Math.abs(threshold) + deviation + Math.abs(mean));
  const columns = Array.from(scores.keys());
  return {
    above: new Set(columns.filter((column) => (scores[column] ?? NaN) > threshold + doubt)),
    near: new Set(columns.filter((column) => Math.abs((scores[column] ?? NaN) - threshold) <= doubt)),
  };
}

function expectAscending(list: readonly number[], what: string): void {
  const isAscending = list.every((column, at) => at === 0 || column > (list[at - 1] ?? Infinity));
  expect(isAscending, `${what}: ${list.join(" ")} ascends`).toBe(true);
}

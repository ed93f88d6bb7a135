import { expect, test } from "bun:test";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Layers from the bottom up; a file may import its own layer and those below. Helpers beside the column stand free. */
const layers = [
  "ffi/",
  "src/nn/",
  "src/delta/",
  "src/models/",
  "src/pipeline/",
  "src/bench/",
  "workers/",
  "src/server/ src/cli/",
];
const beside: Record<string, string[]> = {
  // What a helper layer may import besides itself.
  "src/weights/": ["ffi/errors.ts"],
  "src/media/": [
    "ffi/errors.ts",
    "src/delta/run.ts",
    "src/delta/policy.ts",
    "src/delta/column-policy.ts",
    "src/delta/token-order.ts",
    "src/pipeline/events.ts",
    "src/version.ts",
  ],
  "src/samplers/": ["ffi/", "src/nn/", "src/weights/"],
};
/** Circles that are still there, each by its files in alphabetical order. */
const knownCircles: readonly string[] = [];

function layerOf(path: string): number {
  return layers.findIndex((group) => group.split(" ").some((prefix) => path.startsWith(prefix)));
}

const files = [...new Bun.Glob("{ffi,src,workers}/**/*.ts").scanSync(root)];
/** What each file imports of the project, types included. */
const imports = new Map<string, string[]>(
  await Promise.all(
    files.map(async (file): Promise<[string, string[]]> => {
      const text = await Bun.file(join(root, file)).text();
      const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)];
      return [file, specifiers.map(([, specifier = ""]) => normalize(join(dirname(file), specifier)))];
    }),
  ),
);

test("there are files to check", () => {
  expect(files.length).toBeGreaterThan(40);
});

test.each(files)("%s imports only what lies below it", (file) => {
  for (const target of imports.get(file)!) {
    const helper = Object.keys(beside).find((prefix) => file.startsWith(prefix));
    if (helper) {
      const allowed = [helper, ...beside[helper]!].some((prefix) => target.startsWith(prefix));
      expect({ file, target, allowed }).toEqual({ file, target, allowed: true });
      continue;
    }
    const own = file === "src/index.ts" ? layers.length : layerOf(file);
    expect({ file, target, own }).toEqual({ file, target, own: Math.max(own, layerOf(target)) });
  }
});

test("no files import each other in a circle", () => {
  expect(circles(imports)).toEqual([...knownCircles]);
});

test("a circle is found, however long and wherever it hangs", () => {
  const graph = { a: ["b"], b: ["c", "x"], c: ["d"], d: ["b"], x: ["y"], y: [], self: ["self"] };
  expect(circles(new Map(Object.entries(graph)))).toEqual(["b c d", "self"]);
});

/** Groups of files that reach each other (Tarjan's strongly connected components). */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const order = new Map<string, number>();
  const path: string[] = [];
  /** @returns the earliest file on the path that can be reached from this one */
  const visit = (file: string): number => {
    const own = order.size;
    order.set(file, own);
    path.push(file);
    let earliest = own;
    for (const target of graph.get(file)!) {
      if (!graph.has(target)) continue;
      if (!order.has(target)) earliest = Math.min(earliest, visit(target));
      else if (path.includes(target)) earliest = Math.min(earliest, order.get(target)!);
    }
    if (earliest === own) {
      const group = path.splice(path.indexOf(file));
      if (group.length > 1 || graph.get(file)!.includes(file)) found.push(group.toSorted().join(" "));
    }
    return earliest;
  };
  for (const file of graph.keys()) if (!order.has(file)) visit(file);
  return found.toSorted();
}

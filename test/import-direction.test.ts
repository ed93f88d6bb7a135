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
  "src/server/ src/cli/ workers/",
];
const beside: Record<string, string[]> = {
  // What a helper layer may import besides itself.
  "src/weights/": ["ffi/errors.ts"],
  "src/media/": [
    "ffi/errors.ts",
    "src/delta/run.ts",
    "src/delta/policy.ts",
    "src/delta/token-order.ts",
    "src/pipeline/events.ts",
  ],
  "src/samplers/": ["ffi/", "src/nn/", "src/weights/"],
};

function layerOf(path: string): number {
  return layers.findIndex((group) => group.split(" ").some((prefix) => path.startsWith(prefix)));
}

const files = [...new Bun.Glob("{ffi,src,workers}/**/*.ts").scanSync(root)];

test("there are files to check", () => {
  expect(files.length).toBeGreaterThan(40);
});

test.each(files)("%s imports only what lies below it", async (file) => {
  const text = await Bun.file(join(root, file)).text();
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map(
    ([, specifier = ""]) => specifier,
  );
  for (const specifier of specifiers) {
    const target = normalize(join(dirname(file), specifier));
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

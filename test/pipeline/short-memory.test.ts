import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { memoryGroup } from "../support/memory-group.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const tamias = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

const group = memoryGroup(400 * 2 ** 20);
if ("reason" in group) console.warn(`Runs in 400 MB are not tested: ${group.reason}`);
else afterAll(() => group[Symbol.dispose]());

async function generate(...options: string[]) {
  if ("reason" in group) throw new Error(group.reason);
  const always = ["--device", "cpu", "--threads", "2", "--steps", "3", "--seed", "7", "--json"];
  const run = group.spawn([process.execPath, tamias, "generate", "a fox", ...always, ...options]);
  const [output, log] = await Promise.all([run.stdout.text(), run.stderr.text(), run.exited]);
  expect(run.signalCode, log).toBeNull();
  return { code: run.exitCode, output: JSON.parse(output), log };
}

test.skipIf("reason" in group).each(["exact", "chipmunk"])(
  "512 x 512 in 400 MB, %s: it runs, and says what it left out",
  async (policy) => {
    await using folder = await temporaryFolder();
    const out = join(folder.path, "fox.png");
    const { code, log } = await generate("--size", "512", "--policy", policy, "--out", out);
    expect(code, log).toBe(0);
    expect(await Bun.file(out).exists()).toBe(true);
    if (policy === "chipmunk") expect(log).toMatch(/Memory is short: .* modules run dense instead/);
  },
  240_000,
);

test.skipIf("reason" in group)(
  "1024 x 1024 in 400 MB is refused before any step, by the size that fits",
  async () => {
    await using folder = await temporaryFolder();
    const out = join(folder.path, "fox.png");
    const { code, output, log } = await generate("--size", "1024", "--policy", "balanced", "--out", out);
    expect(code).toBe(1);
    expect(output.error).toMatchObject({ code: "does_not_fit" });
    expect(output.error.hint).toMatch(/^The largest size that fits is \d+ x \d+\.$/);
    expect(log).not.toContain("step 1");
    expect(await Bun.file(out).exists()).toBe(false);
  },
  240_000,
);

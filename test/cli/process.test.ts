import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Workplace } from "./fake-engine.ts";

const program = join(import.meta.dir, "fake-program.ts");

function start(place: Workplace, ...args: string[]) {
  return Bun.spawn([process.execPath, program, "generate", "A red fox!", "--model", place.model, ...args], {
    cwd: place.folder,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

test("the picture gets a name of its own in out/", async () => {
  await using place = await Workplace.make();
  const child = start(place, "--steps", "3", "--seed", "5");
  expect(await child.exited).toBe(0);
  expect(await child.stdout.text()).toBe("out/a-red-fox-5-balanced.png\n");
  expect(await readdir(place.path("out"))).toEqual(["a-red-fox-5-balanced.png"]);
});

test.each(["SIGINT", "SIGTERM"] as const)(
  "%s stops within one step and leaves nothing behind",
  async (signal) => {
    await using place = await Workplace.make();
    const child = start(place, "--steps", "100", "--json");
    const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let seen = "";
    while (!seen.includes("step 2/")) seen += (await reader.read()).value ?? "";
    const asked = performance.now();
    child.kill(signal);
    expect(await child.exited).toBe(130);
    expect(performance.now() - asked).toBeLessThan(2000);
    expect(JSON.parse(await child.stdout.text()).error.code).toBe("aborted");
    expect(existsSync(place.path("out"))).toBe(false);
  },
);

test("npx's entry starts Bun, passes arguments and hands on the exit code", async () => {
  const run = (...args: string[]) =>
    Bun.spawn(["node", join(import.meta.dir, "../../bin/tamias.mjs"), ...args], {
      stdout: "pipe",
      stderr: "pipe",
    });
  const good = run("policies");
  expect(await good.exited).toBe(0);
  expect(await good.stdout.text()).toStartWith("exact");
  const bad = run("generate", "a fox", "--steps", "many");
  expect(await bad.exited).toBe(2);
  expect(await bad.stderr.text()).toStartWith(
    "tamias: option '--steps <number>' argument 'many' is invalid.",
  );
});

test("a reader that goes away is no error", async () => {
  const child = Bun.spawn(["sh", "-c", `"${process.execPath}" "${program}" --help | head -1; true`], {
    stdout: "pipe",
    stderr: "pipe",
  });
  expect(await child.exited).toBe(0);
  expect(await child.stderr.text()).toBe("");
});

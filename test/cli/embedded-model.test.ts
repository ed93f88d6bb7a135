import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodePng } from "../../src/media/png.ts";

setDefaultTimeout(60_000);

const root = join(import.meta.dir, "../..");
const model = process.env.TAMIAS_MODEL ?? join(root, "models/acorn-image");

/** The real program on the real model. */
describe.skipIf(!existsSync(join(model, "model_index.json")))("with the embedded model", () => {
  test("a prompt becomes a picture, the same one for the same seed", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tamias-embedded-"));
    const made: Uint8Array[] = [];
    for (const name of ["a.png", "b.png"]) {
      const path = join(folder, name);
      const args = ["--steps", "3", "--size", "64", "--seed", "5", "--heatmap", join(folder, "map.png")];
      const { code, stdout } = await generate("3d render of a fox", "--out", path, "--json", ...args);
      expect(code).toBe(0);
      const report = JSON.parse(stdout);
      expect(report.steps).toHaveLength(3);
      expect(report.files).toEqual({ picture: path, heatmap: join(folder, "map.png"), previews: [] });
      const picture = decodePng(await readFile(path));
      expect(picture).toMatchObject({ width: 64, height: 64, metadata: { seed: "5", policy: "balanced" } });
      made.push(picture.rgb);
    }
    expect(made[0]).toEqual(made[1]!);
    await rm(folder, { recursive: true });
  });

  test("a size that is no multiple of a token is refused by name", async () => {
    const { code, stderr } = await generate("a fox", "--size", "100", "--quiet");
    expect(code).toBe(1);
    expect(stderr).toMatch(/^tamias: width: 100 is not a multiple of \d+\.\n {2}hint: .*\n$/);
  });

  test("Ctrl-C stops within one step", async () => {
    const child = start("a fox", "--size", "128", "--steps", "200");
    const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let seen = "";
    while (!seen.includes("step 2/")) seen += (await reader.read()).value ?? "";
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
  });
});

function start(...args: string[]) {
  const command = [process.execPath, join(root, "src/cli/main.ts"), "generate", ...args, "--model", model];
  return Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
}

async function generate(...args: string[]) {
  const child = start(...args);
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { code, stdout, stderr };
}

import { expect, test } from "bun:test";
import { fileURLToPath } from "node:url";
import { cudaIsMissing } from "./why-no-cuda.ts";

const skip = await cudaIsMissing("The conformance test of every op");
const root = fileURLToPath(new URL("../..", import.meta.url));

test.skipIf(skip)(
  "every op on CUDA agrees with the float64 references, in bf16 and f32, and refuses what the CPU refuses",
  async () => {
    const run = Bun.spawn([process.execPath, "test", "--timeout=120000", "test/native"], {
      cwd: root,
      env: { ...process.env, TAMIAS_TEST_BACKEND: "cuda" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [said, code] = await Promise.all([new Response(run.stderr).text(), run.exited]);
    const failures = said.split("\n").filter((line) => line.startsWith("(fail)"));
    expect({ code, failures }).toEqual({ code: 0, failures: [] });
    expect(Number(/^ *(\d+) pass$/m.exec(said)?.[1])).toBeGreaterThan(100);
  },
  600_000,
);

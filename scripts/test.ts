// Runs `bun test` with what is given on the command line, then prints one plain line of counts.
// Exits non-zero when a test failed, when the runner failed, and when no test ran.
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { readJunitCounts, type TestCounts } from "./junit.ts";

const secondsPerTest = 120;
const root = join(import.meta.dir, "..");
const report = join(root, "build", "junit.xml");

await mkdir(join(root, "build"), { recursive: true });
await rm(report, { force: true });
const runner = Bun.spawn(
  [
    process.execPath,
    "test",
    `--timeout=${secondsPerTest * 1000}`,
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...process.argv.slice(2),
  ],
  { cwd: root, stdio: ["ignore", "inherit", "inherit"] },
);
const exitCode = await runner.exited;

const file = Bun.file(report);
const counts: TestCounts = (await file.exists())
  ? readJunitCounts(await file.text())
  : { passed: 0, failed: 0, skipped: 0 };
// A file that does not load, or an error between tests, fails the runner but is no test in the report.
if (exitCode !== 0) counts.failed = Math.max(counts.failed, 1);
const executed = counts.passed + counts.failed;
if (executed === 0) console.error("No test ran.");
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed > 0 || executed === 0 ? 1 : 0);

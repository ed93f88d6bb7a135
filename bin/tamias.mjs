#!/usr/bin/env node
// Starts the command line in the Bun that npm installed, so that Bun need not be on the PATH.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const cli = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

let bun;
try {
  bun = join(dirname(createRequire(import.meta.url).resolve("bun/package.json")), "bin", "bun.exe");
} catch {
  console.error("tamias: the npm packages are not installed; run `npm run setup` first.");
  process.exit(1);
}

const child = spawn(bun, [cli, ...process.argv.slice(2)], { stdio: "inherit" });
// A terminal sends SIGINT to the whole group; the child decides when to stop.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => child.kill("SIGTERM"));
child.on("error", (error) => {
  console.error(`tamias: cannot start Bun (${error.message}); run \`npm run setup\` first.`);
  process.exit(1);
});
child.on("exit", (code, signal) => {
  if (signal) process.kill(process.pid, signal);
  else process.exit(code ?? 1);
});

import { writeSync } from "node:fs";
import { Device } from "../../../ffi/index.ts";
import { Random, testBackend } from "../support.ts";
import { abuseMasks } from "./garbage-masks.ts";
import { growthOfDevices, growthOfMemory } from "./growth.ts";
import { abuseCalls } from "./wrong-calls.ts";

const STDERR = 2;

/** Each line is out before the call it announces, so that the last one names a call that crashed. */
function log(line: string): void {
  writeSync(STDERR, `${line}\n`);
}

/** Leaves work in a queue and goes. */
async function leaveWithWork(): Promise<void> {
  const device = await Device.open({ backend: testBackend(), threads: 2 });
  const stream = device.createStream();
  const dtype = device.backend === "cuda" ? "bf16" : "f32";
  const [x, weight, out] = [0, 1, 2].map(() => device.tensor(dtype, [512, 512]));
  if (!x || !weight || !out) return;
  stream.queue("tamias_fill", 1, x);
  stream.queue("tamias_fill", 1, weight);
  for (let time = 0; time < 50; time++) stream.queue("tamias_linear", x, weight, null, 0, 0, out);
  console.log("{}");
  process.exit(0);
}

async function main([kind = "", seed = "0", rounds = "0"]: readonly string[]): Promise<unknown> {
  const random = new Random(Number(seed), kind);
  switch (kind) {
    case "calls":
      return abuseCalls(random, Number(rounds), log);
    case "masks":
      return abuseMasks(random, Number(rounds), log);
    case "devices":
      return growthOfDevices(Number(rounds));
    case "memory":
      return growthOfMemory(Number(rounds));
    case "exit":
      return leaveWithWork();
    default:
      throw new Error(`There is no abuse called "${kind}".`);
  }
}

if (import.meta.main) {
  const report = await main(process.argv.slice(2));
  console.log(JSON.stringify(report));
}

// How soon a streamed request shows something: first byte, first step, first estimate, the whole picture.
//   bun bench/serve.ts [--sizes 256,512] [--policies exact,balanced] [--runs 5] [--threads 2]
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { generate } from "../src/client/index.js";
import { machine, median, writeResult } from "./machine.ts";
import { startServer } from "./serve-program.ts";

const { values } = parseArgs({
  options: {
    sizes: { type: "string", default: "256,512" },
    policies: { type: "string", default: "exact,balanced" },
    runs: { type: "string", default: "5" },
    threads: { type: "string", default: "2" },
    steps: { type: "string", default: "20" },
  },
});
const steps = Number(values.steps);

/** Seconds from the request being sent. */
interface Latency {
  firstByte: number;
  firstStep: number;
  firstPreview: number;
  total: number;
  /** Wall time of the first step and the one after, as the server measured them. */
  twoSteps: number;
}

async function measure(url: string, size: number, policy: string, seed: number): Promise<Latency> {
  const began = performance.now();
  const since = () => (performance.now() - began) / 1000;
  const latency: Latency = { firstByte: 0, firstStep: 0, firstPreview: 0, total: 0, twoSteps: 0 };
  const request = {
    prompt: "3d render of a fox on a sky blue background",
    width: size,
    height: size,
    steps,
    policy,
    seed,
  };
  for await (const message of generate(request, { url })) {
    latency.firstByte ||= since();
    if (message.type === "step") {
      latency.firstStep ||= since();
      if (message.step < 2) latency.twoSteps += message.seconds;
    }
    if (message.type === "preview") latency.firstPreview ||= since();
    if (message.type === "error") throw new Error(message.message);
  }
  latency.total = since();
  return latency;
}

await using server = await startServer("--device", "cpu", "--threads", values.threads);
await measure(server.url, 256, "exact", 0);
const rows = [];
for (const size of values.sizes.split(",").map(Number))
  for (const policy of values.policies.split(",")) {
    const runs: Latency[] = [];
    for (let run = 0; run < Number(values.runs); run++)
      runs.push(await measure(server.url, size, policy, run));
    const of = (key: keyof Latency) => Number(median(runs.map((latency) => latency[key])).toFixed(4));
    const row = {
      size,
      policy,
      steps,
      firstByte: of("firstByte"),
      firstStep: of("firstStep"),
      firstPreview: of("firstPreview"),
      twoSteps: of("twoSteps"),
      total: of("total"),
    };
    rows.push(row);
    console.log(JSON.stringify(row));
  }
const path = await writeResult("serve-latency", {
  machine: machine(server.device, Number(values.threads)),
  loadAverage: loadavg().map((load) => Number(load.toFixed(1))),
  runs: Number(values.runs),
  unit: "seconds from the request being sent, medians",
  rows,
});
console.log(path);

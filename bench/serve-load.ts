// Many clients at once on loopback, a tenth of them slow readers and a tenth that hang up at random.
//   bun bench/serve-load.ts [--clients 200] [--seconds 60] [--threads 1]
// Fails when a job ends other than exactly once, when memory grows without end, or when the server stops answering.
import { readFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { generate, type GenerateRequest, TamiasRequestError } from "../src/client/index.js";
import { machine, writeResult } from "./machine.ts";
import { startServer } from "./serve-program.ts";

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "200" },
    seconds: { type: "string", default: "60" },
    threads: { type: "string", default: "1" },
  },
});
const clients = Number(values.clients);
const milliseconds = Number(values.seconds) * 1000;

const counts = {
  requests: 0,
  accepted: 0,
  refused: 0,
  result: 0,
  cancelled: 0,
  error: 0,
  hungUp: 0,
  broken: 0,
};
const endsOf = new Map<string, number>();

const limits = ["--queue", String(clients), "--drain", "5"];
await using server = await startServer("--device", "cpu", "--threads", values.threads, ...limits);
const until = performance.now() + milliseconds;
/** Requests that are still in the queue some time after the end are given up, like those of clients that hang up. */
const closingTime = AbortSignal.timeout(milliseconds + 15_000);

type Kind = "quick" | "slow" | "hangs up";
const small: GenerateRequest = { prompt: "3d render of a fox", width: 64, height: 64, steps: 4, previews: 2 };
/** What a slow reader asks for: pictures in bare bytes. */
const large: GenerateRequest = {
  ...small,
  width: 256,
  height: 256,
  steps: 2,
  previews: 1,
  preview_format: "rgb",
  output_format: "rgb",
};

async function client(kind: Kind): Promise<void> {
  while (performance.now() < until) {
    counts.requests++;
    try {
      await request(kind);
    } catch (error) {
      if (closingTime.aborted) counts.hungUp++;
      else if (error instanceof TamiasRequestError && error.status === 429) counts.refused++;
      else counts.broken++;
      await Bun.sleep(500);
    }
  }
}

async function request(kind: Kind): Promise<void> {
  let job = "";
  // Somebody who hangs up does so while waiting, or some messages into the picture.
  const patience = kind === "hangs up" ? 1 + Math.floor(Math.random() * 8) : Number.POSITIVE_INFINITY;
  let read = 0;
  const options = { url: server.url, signal: closingTime };
  try {
    for await (const message of generate(kind === "slow" ? large : small, options)) {
      if (message.type === "queued" && job === "") {
        counts.accepted++;
        job = message.job;
        endsOf.set(job, 0);
      }
      if (message.type === "result" || message.type === "cancelled" || message.type === "error") {
        counts[message.type]++;
        endsOf.set(job, (endsOf.get(job) ?? 0) + 1);
      }
      if (kind === "slow") await Bun.sleep(400);
      if (++read < patience) continue;
      counts.hungUp++;
      endsOf.delete(job);
      return;
    }
  } catch (error) {
    // Whoever leaves at closing time hears no end.
    if (closingTime.aborted) endsOf.delete(job);
    throw error;
  }
}

/** Asks for /health from a thread of its own, so that this program's work is not in the times. */
function probeHealth(): Promise<number[]> {
  const worker = new Worker(new URL("./health-probe.ts", import.meta.url));
  worker.postMessage({ url: server.url, milliseconds });
  return new Promise((resolve) => {
    worker.onmessage = ({ data }: MessageEvent<number[]>) => {
      worker.terminate();
      resolve(data);
    };
  });
}

async function residentMiB(): Promise<number> {
  const status = await readFile(`/proc/${server.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}

async function sampleMemory(): Promise<number[]> {
  const samples = [];
  while (performance.now() < until) {
    samples.push(Math.round(await residentMiB()));
    await Bun.sleep(1000);
  }
  return samples;
}

const kinds = Array.from({ length: clients }, (_, at): Kind =>
  at % 10 === 0 ? "slow" : at % 10 === 1 ? "hangs up" : "quick",
);
const [health, memory] = await Promise.all([probeHealth(), sampleMemory(), ...kinds.map(client)]);

// The last to hang up are noticed within a step.
for (let tries = 0; tries < 100; tries++) {
  const { running, waiting } = (await (await fetch(`${server.url}/ready`)).json()) as Record<string, number>;
  if (running === 0 && waiting === 0) break;
  await Bun.sleep(200);
}
const metrics = await (await fetch(`${server.url}/metrics`)).text();
const jobsTotal = [...metrics.matchAll(/^tamias_jobs_total\{state="(\w+)",[^}]*\} (\d+)$/gm)].map(
  ([, state = "", count]) => [state, Number(count)] as const,
);
const ended = jobsTotal.reduce((sum, [, count]) => sum + count, 0);
const ready = (await (await fetch(`${server.url}/ready`)).json()) as { running: number; waiting: number };
const notOnce = [...endsOf.values()].filter((ends) => ends !== 1).length;
const sorted = health.toSorted((a, b) => a - b);
const quantile = (share: number) =>
  Number((sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN).toFixed(1));
const result = {
  machine: machine(server.device, Number(values.threads)),
  loadAverage: loadavg().map((load) => Number(load.toFixed(1))),
  clients,
  seconds: Number(values.seconds),
  counts,
  jobs: { ...Object.fromEntries(jobsTotal), ended, ...ready, notEndedOnce: notOnce },
  healthMilliseconds: { samples: health.length, p50: quantile(0.5), p99: quantile(0.99), most: quantile(1) },
  residentMiB: {
    first: memory[0],
    afterTenSeconds: memory[10],
    last: memory.at(-1),
    most: Math.max(...memory),
  },
};
console.log(JSON.stringify(result, null, 2));
console.log(await writeResult("serve-load", result));
const failed = notOnce > 0 || counts.broken > 0 || counts.accepted > ended + ready.running + ready.waiting;
process.exitCode = failed ? 1 : 0;

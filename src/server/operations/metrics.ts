import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { GenerateEvent } from "../../pipeline/events.ts";
import { stepWord } from "../../media/step-word.ts";
import type { Engine } from "../engine.ts";
import type { Job } from "../jobs/job.ts";
import type { JobObserver } from "../jobs/observer.ts";

const LONG = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600];
const SHORT = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const SHARES = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1];

/** What the queue can say of itself when asked. */
export interface QueueGauge {
  readonly waiting: number;
  readonly running: number;
}

/** Prometheus metrics of one server, in a registry of their own. */
export class Metrics implements JobObserver {
  readonly registry = new Registry();
  readonly #record: Recorders;

  constructor(engine: Engine, queue: () => QueueGauge) {
    this.#record = makeRecorders(this.registry, engine, queue);
  }

  request(method: string, route: string, status: number, seconds: number): void {
    this.#record.requests.inc({ method, route, status: String(status) });
    this.#record.requestSeconds.observe({ route }, seconds);
  }

  started(job: Job): void {
    this.#record.stageSeconds.observe({ stage: "queue" }, ((job.startedAt ?? 0) - job.createdAt) / 1000);
  }

  progressed(job: Job, event: GenerateEvent): void {
    const { policy } = job.request;
    if (event.type === "step") {
      this.#record.steps.inc({ action: stepWord(event) });
      this.#record.stepSeconds.observe({ action: stepWord(event) }, event.seconds);
    }
    if (event.type !== "result") return;
    for (const stage of ["encode", "denoise", "decode"] as const)
      this.#record.stageSeconds.observe({ stage }, event.seconds[stage]);
    this.#record.density.observe({ policy, module: "attention" }, event.attentionDensity);
    this.#record.density.observe({ policy, module: "mlp" }, event.mlpDensity);
  }

  ended(job: Job): void {
    const { policy } = job.request;
    this.#record.jobs.inc({ state: job.state, policy });
    if (job.state === "succeeded")
      this.#record.jobSeconds.observe({ policy }, ((job.endedAt ?? 0) - job.createdAt) / 1000);
  }
}

type Recorders = ReturnType<typeof makeRecorders>;

function makeRecorders(registry: Registry, engine: Engine, queue: () => QueueGauge) {
  const registers = [registry];
  const gauge = (name: string, help: string, value: () => number | undefined) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value() ?? Number.NaN);
      },
    });
  gauge("tamias_jobs_waiting", "Jobs in the queue.", () => queue().waiting);
  gauge("tamias_jobs_running", "Jobs on the device.", () => queue().running);
  gauge("tamias_device_memory_bytes", "Device memory held; NaN where unknown.", () => engine.deviceBytes);
  gauge("process_resident_memory_bytes", "Memory of the server's process.", () => process.memoryUsage.rss());
  gauge("process_uptime_seconds", "Age of the server's process.", () => process.uptime());
  return {
    jobs: new Counter({
      name: "tamias_jobs_total",
      help: "Jobs that ended, by how.",
      labelNames: ["state", "policy"],
      registers,
    }),
    jobSeconds: new Histogram({
      name: "tamias_job_seconds",
      help: "From acceptance to the encoded picture.",
      labelNames: ["policy"],
      buckets: LONG,
      registers,
    }),
    stageSeconds: new Histogram({
      name: "tamias_stage_seconds",
      help: "Seconds that a job spent in the queue, encoding its prompt, denoising, decoding.",
      labelNames: ["stage"],
      buckets: LONG,
      registers,
    }),
    steps: new Counter({
      name: "tamias_steps_total",
      help: "Denoising steps done.",
      labelNames: ["action"],
      registers,
    }),
    stepSeconds: new Histogram({
      name: "tamias_step_seconds",
      help: "Seconds of a denoising step.",
      labelNames: ["action"],
      buckets: SHORT,
      registers,
    }),
    density: new Histogram({
      name: "tamias_density",
      help: "Share of columns recomputed, the mean over a job's steps.",
      labelNames: ["policy", "module"],
      buckets: SHARES,
      registers,
    }),
    requests: new Counter({
      name: "tamias_http_requests_total",
      help: "HTTP requests answered.",
      labelNames: ["method", "route", "status"],
      registers,
    }),
    requestSeconds: new Histogram({
      name: "tamias_http_request_seconds",
      help: "From a request to the head of its response.",
      labelNames: ["route"],
      buckets: SHORT,
      registers,
    }),
  };
}

import { errorCode, inOrder, TamiasError } from "../../../ffi/errors.ts";
import { encodePicture } from "../../media/encode-picture.ts";
import { pictureMetadata } from "../../media/picture-metadata.ts";
import type { ResultEvent } from "../../pipeline/events.ts";
import type { Engine } from "../engine.ts";
import type { Job } from "./job.ts";
import type { MessageOf } from "./messages.ts";
import type { JobObserver } from "./observer.ts";
import { StepMessages } from "./step-messages.ts";

/** Errors that another try may not meet. */
const retryable = new Set(["device_failed", "device_lost", "out_of_memory", "native", "internal"]);

/**
 * Runs a job on the engine and writes its log.
 * @returns when the engine is free; the job ends when its picture is encoded
 */
export async function runJob(engine: Engine, job: Job, observers: readonly JobObserver[]): Promise<void> {
  job.begin();
  for (const observer of observers) observer.started?.(job);
  const queueSeconds = ((job.startedAt ?? 0) - job.createdAt) / 1000;
  const { options, preview } = job.request;
  const steps = new StepMessages(options.recordColumns === true);
  const note = (error: unknown): void => {
    for (const observer of observers) observer.mistaken?.(job, error);
  };
  const fail = (error: unknown): void => {
    const { first, later } = inOrder(error);
    if (!job.stopped && (!(first instanceof TamiasError) || later.length > 0)) note(error);
    job.end(failureMessage(job, first));
  };
  let device = engine.device;
  let isMade = false;
  try {
    for await (const event of engine.generate({ ...options, signal: job.signal })) {
      for (const observer of observers) observer.progressed?.(job, event);
      switch (event.type) {
        case "start":
          device = event.device;
          job.log.append(steps.start(event, job.id, queueSeconds));
          break;
        case "step":
          job.stepsDone = event.step + 1;
          job.log.append(...steps.step(event));
          break;
        case "preview": {
          const { step, width, height, rgb } = event;
          job.log.append(
            { type: "preview", step, width, height, format: preview.format },
            once(() => encodePicture({ width, height, rgb }, preview.format, preview)),
          );
          break;
        }
        case "result":
          isMade = true;
          // The engine cleans up meanwhile.
          void finish(job, event, { queueSeconds, device }).catch(fail);
      }
    }
    if (!isMade) throw new TamiasError("internal", "The engine ended without a picture.");
  } catch (error) {
    // A picture that is there outlives what the engine fails with afterwards.
    if (!isMade) fail(error);
    else if (errorCode(error) !== "aborted") note(error);
  }
}

async function finish(
  job: Job,
  event: ResultEvent,
  { queueSeconds: queue, device }: { queueSeconds: number; device: string },
): Promise<void> {
  const { output, options } = job.request;
  const metadata = pictureMetadata(event, { device, policy: options.policy ?? event.settings.policy });
  const picture = await encodePicture(event, output.format, { ...output, metadata });
  const { width, height, settings, seconds } = event;
  job.end(
    {
      type: "result",
      job: job.id,
      ...settings,
      format: output.format,
      width,
      height,
      density: event.density,
      attention_density: event.attentionDensity,
      mlp_density: event.mlpDensity,
      seconds: { queue, ...seconds, total: queue + seconds.total },
    },
    picture,
  );
}

/** How a job ends that made no picture. */
function failureMessage(job: Job, error: unknown): MessageOf<"error" | "cancelled"> {
  if (job.stopped) return { job: job.id, ...job.stopped };
  if (error instanceof TamiasError) {
    const { code, message, hint } = error;
    return {
      type: "error",
      job: job.id,
      code,
      message,
      ...(hint === undefined ? {} : { hint }),
      retry: retryable.has(code),
    };
  }
  return {
    type: "error",
    job: job.id,
    code: "internal",
    message: "A mistake in Tamias itself; the server's log has more.",
    retry: true,
  };
}

/** Does the work when first asked, and never again. */
function once<Value>(work: () => Promise<Value>): () => Promise<Value> {
  let done: Promise<Value> | undefined;
  return () => (done ??= work());
}

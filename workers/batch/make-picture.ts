import { pictureMetadata } from "../../src/media/picture-metadata.ts";
import { encodePng } from "../../src/media/png.ts";
import type { PreviewEvent, ResultEvent, StartEvent, StepEvent } from "../../src/pipeline/events.ts";
import type { RemoteTamias } from "../connection.ts";
import { type BatchTask, hexDigest } from "./job.ts";
import type { DoneRecord } from "./record.ts";

/** A finished task: the file's bytes, which depend on nothing but the task, and what the manifest says of it. */
export interface MadePicture {
  readonly png: Uint8Array;
  readonly record: DoneRecord;
}

export interface MakeOptions {
  readonly signal: AbortSignal;
  readonly previewEvery?: number;
  readonly onStep: (event: StepEvent) => void;
  readonly onPreview?: (event: PreviewEvent) => void;
}

/** @throws TamiasError as `generate` does */
export async function makePicture(
  tamias: Pick<RemoteTamias, "generate">,
  { id, line, options }: BatchTask,
  { signal, previewEvery = 0, onStep, onPreview }: MakeOptions,
): Promise<MadePicture> {
  let start: StartEvent | undefined;
  let result: ResultEvent | undefined;
  for await (const event of tamias.generate({ ...options, previewEvery, signal })) {
    if (event.type === "start") start = event;
    if (event.type === "result") result = event;
    if (event.type === "preview") onPreview?.(event);
    if (event.type === "step") onStep(event);
  }
  if (!start || !result) throw new Error("The run ended without a result.");
  const made = { device: start.device, policy: options.policy ?? "balanced" };
  const png = encodePng(result, pictureMetadata(result, made));
  const { settings, seconds, density } = result;
  return {
    png,
    record: {
      status: "done",
      id,
      line,
      file: `${id}.png`,
      sha256: hexDigest(png),
      settings,
      device: start.device,
      seconds,
      density,
    },
  };
}

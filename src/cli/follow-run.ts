import { throwIfAborted } from "../../ffi/errors.ts";
import type { ResultEvent, StartEvent, StepEvent, TraceEvent } from "../pipeline/events.ts";
import type { OpenedModel } from "./context.ts";
import type { GenerateOptions } from "../pipeline/options.ts";
import type { FollowedRun } from "./generate-report.ts";
import type { Outputs } from "./outputs.ts";
import type { Progress } from "./progress.ts";

/**
 * Runs a request to its end: tells its progress, writes its previews, keeps its events.
 * @throws TamiasError whatever the run throws; `aborted` when the signal fires
 */
export async function followRun(
  tamias: Pick<OpenedModel, "generate">,
  request: GenerateOptions,
  { signal, progress, outputs }: { signal: AbortSignal; progress: Progress; outputs?: Outputs },
): Promise<FollowedRun> {
  let start: StartEvent | undefined;
  let result: ResultEvent | undefined;
  let trace: TraceEvent | undefined;
  const steps: StepEvent[] = [];
  for await (const event of tamias.generate({ ...request, signal })) {
    switch (event.type) {
      case "start":
        start = event;
        for (const note of event.notes) progress.note(`note: ${note}`);
        progress.start(event);
        break;
      case "step":
        steps.push(event);
        progress.step(event);
        if (steps.length === event.steps) progress.phase("decoding");
        break;
      case "preview":
        if (start) await outputs?.addPreview(event, start.settings);
        break;
      case "trace":
        trace = event;
        break;
      case "result":
        result = event;
    }
    // Ctrl-C arrives between turns of the event loop; steps that never wait would keep it out.
    await Bun.sleep(0);
    throwIfAborted(signal);
  }
  if (!start || !result) throw new Error("The run ended without a result.");
  return { start, steps, result, trace };
}

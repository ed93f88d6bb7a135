import { join } from "node:path";
import { TamiasError } from "../../ffi/errors.ts";
import { drawHeatmap } from "../media/heatmap.ts";
import { ensureFolderWritable, ensureWritable } from "../media/output-path.ts";
import { pictureMetadata } from "../media/picture-metadata.ts";
import type { PreviewEvent, Settings } from "../pipeline/events.ts";
import type { FollowedRun, GenerateReport } from "./generate-report.ts";
import { defaultOutput } from "./output-name.ts";
import { chromeTrace } from "./chrome-trace.ts";
import { writePicture, writeText } from "./write-picture.ts";

/** Where the command line asked outputs to go. */
export interface OutputPaths {
  readonly out?: string;
  readonly heatmap?: string;
  readonly previewDir?: string;
  readonly trace?: string;
}

/** The files of one run. */
export interface WrittenFiles {
  readonly picture: string;
  readonly heatmap?: string;
  readonly trace?: string;
  readonly previews: readonly string[];
}

/**
 * Makes sure, before any work, that all outputs can be written.
 * @throws TamiasError `bad_input` or `io`
 */
export async function checkOutputs({ out, heatmap, previewDir, trace }: OutputPaths): Promise<void> {
  for (const path of [out, heatmap].filter((asked) => asked !== undefined)) {
    if (!path.toLowerCase().endsWith(".png"))
      throw new TamiasError("bad_input", `${path} is no name for a picture: it must end with .png.`);
    await ensureWritable(path);
  }
  if (out !== undefined && out === heatmap)
    throw new TamiasError("bad_input", `The picture and the heat map cannot both go to ${out}.`);
  if (trace !== undefined) await ensureWritable(trace);
  if (out === undefined) await ensureFolderWritable("out");
  if (previewDir !== undefined) await ensureFolderWritable(previewDir);
}

/** Writes a run's pictures as they come. */
export class Outputs {
  readonly #paths: OutputPaths;
  readonly #previews: string[] = [];

  constructor(paths: OutputPaths) {
    this.#paths = paths;
  }

  async addPreview(preview: PreviewEvent, settings: Settings): Promise<void> {
    const name = `step-${String(preview.step + 1).padStart(String(settings.steps).length, "0")}.png`;
    const path = join(this.#previewFolder(settings), name);
    await writePicture(path, preview);
    this.#previews.push(path);
  }

  async write(run: FollowedRun, report: GenerateReport): Promise<WrittenFiles> {
    const { heatmap, out, trace } = this.#paths;
    const picture = out ?? defaultOutput(run.result.settings);
    const metadata = pictureMetadata(run.result, {
      device: run.start.device,
      policy: report.policySettings ?? report.settings.policy,
    });
    await writePicture(picture, run.result, metadata);
    if (heatmap !== undefined) await writePicture(heatmap, drawHeatmap(run), metadata);
    if (trace !== undefined && run.trace)
      await writeText(trace, JSON.stringify(chromeTrace(run.trace, run.start.device)));
    return {
      picture,
      ...(heatmap === undefined ? {} : { heatmap }),
      ...(trace === undefined ? {} : { trace }),
      previews: this.#previews,
    };
  }

  /** Beside the picture, when the command line names none. */
  #previewFolder(settings: Settings): string {
    const { previewDir, out } = this.#paths;
    return previewDir ?? `${(out ?? defaultOutput(settings)).replace(/\.png$/i, "")}-steps`;
  }
}

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { throwIfAborted } from "../../ffi/errors.ts";
import type { CliContext, Engine, TextSink } from "../../src/cli/context.ts";
import { runCli } from "../../src/cli/program.ts";
import type { GenerateEvent } from "../../src/pipeline/events.ts";
import { checkOptions, type GenerateOptions } from "../../src/pipeline/options.ts";
import { syntheticRun } from "./synthetic-run.ts";

/** An engine that draws nothing: it tells the events of a synthetic run, waiting a little at each step. */
export function fakeEngine({ secondsPerStep = 0 }: { secondsPerStep?: number } = {}): Engine {
  return {
    open: async () => ({
      generate: (options) => generate(options, secondsPerStep),
      [Symbol.asyncDispose]: async () => {},
    }),
    openApart: async () => ({
      model: "acorn-image",
      device: "Synthetic CPU, 2 threads",
      defaults: { steps: 20, guidance: 3.5 },
      generate: (options) => generate(options, secondsPerStep),
      close: async () => {},
    }),
    inspectRun: async () => {
      throw new Error("This engine looks at no model.");
    },
    verifyFolder: async () => [
      { part: "clip", error: 2.5e-7, tolerance: 1e-4, ok: true },
      { part: "transformer", error: 3.1e-3, tolerance: 1e-4, ok: false },
    ],
  };
}

async function* generate(
  options: GenerateOptions,
  secondsPerStep: number,
): AsyncGenerator<GenerateEvent, void, void> {
  const { prompt, steps = 20, policy, seed = 7, previewEvery } = checkOptions(options);
  const name = typeof policy === "string" ? policy : "custom";
  const run = syntheticRun({ steps, prompt, policy: name });
  const settings = { ...run.start.settings, seed };
  yield { ...run.start, settings };
  for (const step of run.steps) {
    await Bun.sleep(secondsPerStep * 1000);
    throwIfAborted(options.signal);
    yield step;
    const { width, height, rgb } = run.result;
    if (previewEvery > 0 && (step.step + 1) % previewEvery === 0 && step.step + 1 < steps)
      yield { type: "preview", step: step.step, width, height, rgb };
  }
  yield { ...run.result, settings };
}

/** A folder that looks like a model, as far as the command line looks. */
export class Workplace implements AsyncDisposable {
  readonly folder: string;
  readonly model: string;

  static async make(words?: Record<string, string[]>): Promise<Workplace> {
    const place = new Workplace(await mkdtemp(join(tmpdir(), "tamias-cli-")));
    await mkdir(place.model);
    await writeFile(join(place.model, "model_index.json"), JSON.stringify({ _class_name: "FluxPipeline" }));
    if (words) await writeFile(join(place.model, "words.json"), JSON.stringify(words));
    return place;
  }

  private constructor(folder: string) {
    this.folder = folder;
    this.model = join(folder, "tiny");
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true });
  }
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process. */
export async function tryCli(
  args: readonly string[],
  { engine = fakeEngine(), signal = new AbortController().signal, terminal = false }: Options = {},
): Promise<Outcome> {
  const text = { stdout: "", stderr: "" };
  const sink = (name: "stdout" | "stderr"): TextSink => ({
    isTerminal: terminal,
    columns: 100,
    write: (written) => {
      text[name] += written;
    },
  });
  const context: CliContext = { stdout: sink("stdout"), stderr: sink("stderr"), signal, engine };
  return { code: await runCli(args, context), ...text };
}

interface Options {
  readonly engine?: Engine;
  readonly signal?: AbortSignal;
  readonly terminal?: boolean;
}

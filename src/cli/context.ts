import type { ProcessOptions } from "../../workers/open-in-process.ts";
import type { Inspection } from "../pipeline/inspect.ts";
import type { OpenOptions, Tamias } from "../pipeline/open.ts";
import type { GenerateOptions } from "../pipeline/options.ts";
import type { Engine as ServedEngine } from "../server/engine.ts";

/** Where text goes: standard output or standard error. */
export interface TextSink {
  readonly isTerminal: boolean;
  /** Characters a line holds; only meaningful on a terminal. */
  readonly columns: number;
  write(text: string): void;
}

/** One part of a model folder compared with its golden outputs. */
export interface VerifiedPart {
  readonly part: string;
  /** Relative L2 error. */
  readonly error: number;
  readonly tolerance: number;
  readonly ok: boolean;
}

/** What the command line uses of an opened model. */
export type OpenedModel = Pick<Tamias, "generate" | typeof Symbol.asyncDispose>;

/** What the command line needs of the engine, so that tests can stand in for it. */
export interface Engine {
  open(options: OpenOptions): Promise<OpenedModel>;
  /** Opens a model apart from this program's event loop, which a server needs for its clients. */
  openApart(options: ProcessOptions): Promise<ServedEngine>;
  inspectRun(options: Omit<OpenOptions, "pipeline">, request: GenerateOptions): Promise<Inspection>;
  verifyFolder(
    folder: string,
    options: { device: NonNullable<OpenOptions["device"]> },
  ): Promise<readonly VerifiedPart[]>;
}

/** All that the command line touches of the world. */
export interface CliContext {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  /** Fires on Ctrl-C. */
  readonly signal: AbortSignal;
  readonly engine: Engine;
}

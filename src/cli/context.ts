import type { OpenOptions, Tamias } from "../pipeline/open.ts";

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

/** All that the command line touches of the world and of the engine, so that tests can stand in for both. */
export interface CliContext {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  /** Fires on Ctrl-C. */
  readonly signal: AbortSignal;
  open(options: OpenOptions): Promise<Tamias>;
  verifyFolder(folder: string, options: { device: OpenOptions["device"] }): Promise<readonly VerifiedPart[]>;
}

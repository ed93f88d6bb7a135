import type { Engine, TextSink } from "./context.ts";
import { exitCode } from "./exit-code.ts";
import { runCli } from "./program.ts";

/** Runs the command line of this process, then ends the process with its exit code. */
export async function runProcess(engine: Engine): Promise<never> {
  const interrupt = new AbortController();
  // The first Ctrl-C or kill asks the work to stop; the second does not wait for it.
  for (const name of ["SIGINT", "SIGTERM"] as const)
    process.on(name, () => {
      if (interrupt.signal.aborted) process.exit(exitCode.interrupted);
      interrupt.abort();
    });
  const code = await runCli(process.argv.slice(2), {
    stdout: textSink(process.stdout),
    stderr: textSink(process.stderr),
    signal: interrupt.signal,
    engine,
  });
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  process.exit(code);
}

function textSink(stream: NodeJS.WriteStream): TextSink {
  // A reader that went away (`| head`) is no error.
  stream.on("error", () => {});
  return {
    isTerminal: stream.isTTY,
    get columns() {
      return stream.columns || 80;
    },
    write: (text) => void stream.write(text),
  };
}

function flush(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write("", () => resolve()));
}

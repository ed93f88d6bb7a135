import { join } from "node:path";

/** A server in a process of its own, as `tamias serve` starts it. */
export interface ServeProgram extends AsyncDisposable {
  readonly url: string;
  readonly model: string;
  readonly device: string;
  readonly pid: number;
  /** Asks it to stop, and waits for its exit code. */
  stop(): Promise<number>;
}

export async function startServer(...args: string[]): Promise<ServeProgram> {
  const program = join(import.meta.dir, "../src/cli/main.ts");
  const child = Bun.spawn(
    [process.execPath, program, "serve", "--port", "0", "--json", "--log", "none", ...args],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  const { url, model, device } = JSON.parse(new TextDecoder().decode(value)) as ServeProgram;
  const stop = () => {
    child.kill("SIGTERM");
    return child.exited;
  };
  return { url, model, device, pid: child.pid, stop, [Symbol.asyncDispose]: async () => void (await stop()) };
}

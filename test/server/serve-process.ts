import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");

/** A server in a process of its own. */
export interface ServeProcess {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly url: string;
  readonly model: string;
  readonly device: string;
}

/** Starts one on a model that draws noise in milliseconds. */
export async function serve(model: string, ...args: string[]): Promise<ServeProcess> {
  const child = Bun.spawn(
    [process.execPath, join(root, "src/cli/main.ts"), "serve", "--model", model, "--device", "cpu"].concat(
      ["--threads", "1", "--port", "0", "--json", "--log", "json", "--max-steps", "1000"],
      args,
    ),
    { stdin: "ignore", stdout: "pipe", stderr: "pipe", cwd: root },
  );
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let line = "";
  while (!line.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`The server did not start: ${await child.stderr.text()}`);
    line += value;
  }
  return { child, ...(JSON.parse(line) as { url: string; model: string; device: string }) };
}

/** The processes that a process has started. */
export async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`);
  const lists = await Promise.all(
    threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/children`, "utf8").catch(() => "")),
  );
  return lists.flatMap((list) => list.split(" ").filter(Boolean).map(Number));
}

import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A control group whose processes may take so many bytes. */
export interface MemoryGroup extends Disposable {
  /** Starts a program in it. */
  spawn(command: readonly string[]): Bun.Subprocess<"ignore", "pipe", "pipe">;
}

/** Makes one, or says why this process may not. */
export function memoryGroup(bytes: number): MemoryGroup | { readonly reason: string } {
  const own = readFileSync("/proc/self/cgroup", "utf8").match(/^\d+:memory:(.*)$/m)?.[1];
  const top = ["/sys/fs/cgroup/memory", own].join("");
  if (own === undefined || !existsSync(top))
    return { reason: "no memory groups of the first version are seen" };
  const group = join(top, `tamias-test-${process.pid}-${bytes}`);
  try {
    mkdirSync(group);
    writeFileSync(join(group, "memory.limit_in_bytes"), String(bytes));
  } catch (error) {
    if (existsSync(group)) rmdirSync(group);
    return { reason: (error as Error).message };
  }
  const start = `echo $$ > ${join(group, "cgroup.procs")} && exec "$0" "$@"`;
  return {
    spawn: (command) =>
      Bun.spawn(["sh", "-c", start, ...command], { stdin: "ignore", stdout: "pipe", stderr: "pipe" }),
    [Symbol.dispose]: () => rmdirSync(group),
  };
}

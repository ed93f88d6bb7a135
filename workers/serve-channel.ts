import type { OpenOptions } from "../src/pipeline/open.ts";
import { endWithProgram } from "./end-with-program.ts";
import { type HostedModel, ModelHost } from "./model-host.ts";
import type { ToWorker } from "./protocol.ts";

/** Serves the program that started this process, over the channel between them, until it closes. */
export function serveChannel(open: (options: OpenOptions) => Promise<HostedModel>): void {
  endWithProgram();
  const host = new ModelHost(open, (message) => process.send?.(message));
  process.on("message", (message: ToWorker) => host.receive(message));
  // The channel closes when the program is done with this process, and when the program is dead.
  process.on("disconnect", () => process.exit(0));
  // Ctrl-C and service managers signal whole groups of processes; when to stop is the program's decision.
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => {});
}

/**
 * A process that owns an opened model: native code that crashes takes this process with it, not the program.
 * `openInProcess` is its other end.
 */
import { ModelHost } from "./model-host.ts";
import type { ToWorker } from "./protocol.ts";

const host = new ModelHost((message) => process.send?.(message));
process.on("message", (message: ToWorker) => host.receive(message));
// The channel closes when the program is done with this process, and when the program is dead.
process.on("disconnect", () => process.exit(0));
// Ctrl-C and service managers signal whole groups of processes; when to stop is the program's decision.
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => {});

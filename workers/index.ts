/** Models opened in a thread or a process of their own, used as `open`'s are. */
export type { RemoteTamias } from "./connection.ts";
export { openInProcess, type ProcessTamias } from "./open-in-process.ts";
export { openInWorker } from "./open-in-worker.ts";

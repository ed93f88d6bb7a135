/**
 * A Worker that owns an opened model: it denoises in its own thread, so that the program's event loop stays free even
 * while a step is being queued. `openInWorker` is its other end.
 */
import { open } from "../src/pipeline/open.ts";
import { ModelHost } from "./model-host.ts";
import type { ToWorker } from "./protocol.ts";

declare const self: Worker;

const host = new ModelHost(open, (message, transfer) => self.postMessage(message, transfer));
self.onmessage = ({ data }: MessageEvent<ToWorker>) => host.receive(data);

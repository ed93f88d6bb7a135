/**
 * A Worker beside the one that denoises, in the same process and on the same device: it makes the calls of a second
 * stream, on which masks are chosen and caches are made while the first stream computes (`src/delta/mask-work.ts`).
 */
import type { StreamOrder } from "../ffi/remote-stream.ts";
import { serveStream } from "../ffi/serve-stream.ts";

declare const self: Worker;

self.onmessage = ({ data }: MessageEvent<StreamOrder>) =>
  serveStream(data, (answer) => self.postMessage(answer)).catch((error: Error) =>
    self.postMessage({ type: "refused", message: error.message }),
  );

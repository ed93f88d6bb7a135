/**
 * A Worker beside the one that denoises, in the same process and on the same device: it makes the calls of the mask
 * stream, on which masks are chosen and caches are made while the main stream computes (`src/delta/mask-work.ts`).
 */
import { inOrder } from "../ffi/errors.ts";
import type { StreamOrder } from "../ffi/remote-stream.ts";
import { serveStream } from "../ffi/serve-stream.ts";

declare const self: Worker;

self.onmessage = ({ data }: MessageEvent<StreamOrder>) =>
  serveStream(data, (answer) => self.postMessage(answer)).catch((error: unknown) =>
    self.postMessage({ type: "refused", message: String(inOrder(error).first) }),
  );

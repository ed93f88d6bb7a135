import { TamiasError } from "../ffi/errors.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import { RequestQueue } from "../src/pipeline/request-queue.ts";
import { Connection, type RemoteTamias } from "./connection.ts";
import { type AskedDeadlines, settleDeadlines } from "./deadlines.ts";
import type { FromWorker } from "./protocol.ts";

export interface WorkerOptions extends OpenOptions {
  /** What is left out is as in `defaultDeadlines`. */
  readonly deadlines?: AskedDeadlines | undefined;
}

/**
 * Opens a model in a Worker of its own. The same use as `open`; pictures are handed over without a copy. A device that
 * fails or hangs fails every later request: a thread cannot be ended from outside, and shares what has failed with the
 * program.
 * @throws TamiasError as `open` does
 */
export async function openInWorker({ deadlines, ...options }: WorkerOptions): Promise<RemoteTamias> {
  const limits = settleDeadlines(deadlines);
  const worker = new Worker(new URL("./denoise-worker.ts", import.meta.url));
  const connection = new Connection(
    (message) => worker.postMessage(message),
    limits,
    () => worker.terminate(),
  );
  worker.onmessage = ({ data }: MessageEvent<FromWorker>) => connection.receive(data);
  worker.onerror = ({ message }) =>
    connection.fail(new TamiasError("internal", `The denoise worker failed: ${message}`));
  try {
    const { model, device, sizes, defaults } = await connection.open(options);
    const requests = new RequestQueue(limits.untaken);
    const close = async () => {
      await Promise.all([requests.close(), connection.close()]);
      worker.terminate();
    };
    return {
      model,
      device,
      sizes,
      defaults,
      get deviceBytes() {
        return connection.deviceBytes;
      },
      get unavailable() {
        return connection.failure?.message;
      },
      generate: ({ signal, ...request }) =>
        requests.run((stop) => connection.generate({ ...request, signal: stop }), signal),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

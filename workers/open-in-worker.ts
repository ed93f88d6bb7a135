import { TamiasError } from "../ffi/errors.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import { Connection, type RemoteTamias } from "./connection.ts";
import type { FromWorker } from "./protocol.ts";

/**
 * Opens a model in a Worker of its own. The same use as `open`; pictures are handed over without a copy.
 * @throws TamiasError as `open` does
 */
export async function openInWorker(options: OpenOptions): Promise<RemoteTamias> {
  const worker = new Worker(new URL("./denoise-worker.ts", import.meta.url));
  const connection = new Connection((message) => worker.postMessage(message));
  worker.onmessage = ({ data }: MessageEvent<FromWorker>) => connection.receive(data);
  worker.onerror = ({ message }) =>
    connection.fail(new TamiasError("internal", `The denoise worker failed: ${message}`));
  try {
    const { model, device, sizes, defaults } = await connection.open(options);
    const close = async () => {
      await connection.close();
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
      generate: (request) => connection.generate(request),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

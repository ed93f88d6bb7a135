import { type Device, RemoteStream } from "../../ffi/index.ts";

/** Makes the calls of the mask stream. It lies above this layer, as programs do. */
const program = new URL("../../workers/mask-worker.ts", import.meta.url);

/** The mask stream: chooses masks and makes caches beside the denoising; a Worker makes its calls. */
export function openMaskStream(device: Device): Promise<RemoteStream> {
  return RemoteStream.open(device, program);
}

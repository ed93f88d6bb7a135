import { type Device, RemoteStream } from "../../ffi/index.ts";

/** Makes the calls of the second stream. It lies above this layer, as programs do. */
const program = new URL("../../workers/mask-worker.ts", import.meta.url);

/** A second stream for masks and caches, whose calls a Worker makes. */
export function openSideStream(device: Device): Promise<RemoteStream> {
  return RemoteStream.open(device, program);
}

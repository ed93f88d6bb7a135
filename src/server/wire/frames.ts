import { encode } from "@msgpack/msgpack";
import type { Told } from "./follow.ts";

export const FRAMES_TYPE = "application/vnd.msgpack";

/**
 * A message as a frame: the header's length (u32, big-endian), the header in msgpack, and `bytes` of payload where the
 * header says so. The payload is handed on as it is.
 */
export function toFrame({ message, payload }: Told): Uint8Array[] {
  const header = encode(payload ? { ...message, bytes: payload.length } : message);
  const head = new Uint8Array(4 + header.length);
  new DataView(head.buffer).setUint32(0, header.length);
  head.set(header, 4);
  return payload ? [head, payload] : [head];
}

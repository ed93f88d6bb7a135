import type { Told } from "./follow.ts";

export const SSE_TYPE = "text/event-stream";

const encoder = new TextEncoder();

/** One server-sent event; `data` must be one line, as JSON is. */
export function sseEvent(event: string, data: string, id?: number): Uint8Array {
  return encoder.encode(`${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`);
}

/** A message as a server-sent event; its payload is in `payload`, as base64. */
export function toServerSentEvent({ id, message, payload }: Told): Uint8Array[] {
  const data = payload ? { ...message, payload: toBase64(payload) } : message;
  return [sseEvent(message.type, JSON.stringify(data), id)];
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

import { decode } from "@msgpack/msgpack";

/** The server's answer to a request it did not take: `status`, and `problem` as it was sent. */
export class TamiasRequestError extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `The server answered ${status}.`);
    this.name = "TamiasRequestError";
    this.status = status;
    this.problem = problem;
  }
}

/** Asks for a picture, and tells each message as it comes: `start`, `step`, `preview`, `result` … */
export async function* generate(request, { url = "http://127.0.0.1:8787", apiKey, headers, signal } = {}) {
  const response = await fetch(new URL("v1/generate", url.endsWith("/") ? url : `${url}/`), {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/vnd.msgpack",
      ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}),
      ...headers,
    },
    body: JSON.stringify(request),
    signal,
  });
  if (!response.ok || !response.body)
    throw new TamiasRequestError(response.status, await response.json().catch(() => undefined));
  yield* readMessages(response.body);
}

/** Reads frames: header length (u32, big-endian), header (msgpack), `bytes` of payload. */
export async function* readMessages(stream) {
  const reader = stream.getReader();
  let rest = new Uint8Array(0);
  const take = async (count) => {
    const chunks = [rest];
    let length = rest.length;
    while (length < count) {
      const { done, value } = await reader.read();
      if (done && length === 0) return undefined;
      if (done) throw new Error("The server's answer ended in the middle of a message.");
      chunks.push(value);
      length += value.length;
    }
    const all = chunks.length === 1 ? rest : new Uint8Array(length);
    if (chunks.length > 1) chunks.reduce((at, chunk) => (all.set(chunk, at), at + chunk.length), 0);
    rest = all.subarray(count);
    return all.subarray(0, count);
  };
  try {
    for (let size = await take(4); size; size = await take(4)) {
      const header = decode(await take(new DataView(size.buffer, size.byteOffset).getUint32(0)));
      yield header.bytes === undefined ? header : { ...header, payload: await take(header.bytes) };
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

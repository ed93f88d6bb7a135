import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Context } from "hono";

/** A file that the server sends, read when first asked for. */
export interface SentFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly etag: string;
}

/** Reads files of the server's own, each once. What cannot be read is not remembered: there are endlessly many names. */
export class FileCache {
  readonly #files = new Map<string, Promise<SentFile>>();

  /** Files held. */
  get size(): number {
    return this.#files.size;
  }

  /** @param edit changes the text before it is sent */
  get(url: URL, edit?: (text: string) => string): Promise<SentFile> {
    const known = this.#files.get(url.href);
    if (known) return known;
    const read = readSentFile(url, edit);
    this.#files.set(url.href, read);
    read.catch(() => this.#files.delete(url.href));
    return read;
  }
}

async function readSentFile(url: URL, edit: ((text: string) => string) | undefined): Promise<SentFile> {
  const raw = await readFile(url);
  const bytes = edit ? new TextEncoder().encode(edit(raw.toString("utf8"))) : new Uint8Array(raw);
  return { bytes, etag: `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"` };
}

/** Sends a file, or 304 to a browser that has it. */
export function sendFile(
  context: Context,
  { bytes, etag }: SentFile,
  contentType: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const all = { ...headers, etag, "cache-control": "no-cache" };
  if (context.req.header("if-none-match") === etag) return new Response(null, { status: 304, headers: all });
  return new Response(bytes, { headers: { ...all, "content-type": contentType } });
}

import { createHash } from "node:crypto";
import type { Context } from "hono";

/** Tells requests apart: a digest of the path, the answer's kind and the body as it was sent. */
export async function fingerprint(context: Context): Promise<string> {
  return createHash("sha256")
    .update(`${context.req.path}\n${context.req.header("accept") ?? ""}\n`)
    .update(await context.req.text())
    .digest("hex");
}

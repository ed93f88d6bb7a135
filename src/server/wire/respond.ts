import type { Context } from "hono";
import type { ServerEnv } from "../http/context.ts";
import { readerStream } from "../http/reader-stream.ts";
import type { Job } from "../jobs/job.ts";
import type { Service } from "../service.ts";
import { follow, type Told } from "./follow.ts";

/**
 * A response that tells jobs as they happen, one after another.
 * @param after where to begin, in the log of a single job
 * @param onLeave called once, at the end or when the client has gone
 */
export function respondLive(
  context: Context<ServerEnv>,
  { jobs, settings }: Service,
  told: readonly Job[],
  {
    after = 0,
    contentType,
    toBytes,
    onLeave = () => {},
  }: {
    after?: number;
    contentType: string;
    toBytes: (told: Told) => readonly Uint8Array[];
    onLeave?: () => void;
  },
): Response {
  const { raw } = context.req;
  keepOpen(context);
  const readers = told.map((job) =>
    follow(jobs, job, { after, heartbeatSeconds: settings.heartbeatSeconds }),
  );
  const next = async (signal: AbortSignal): Promise<readonly Uint8Array[] | undefined> => {
    for (let reader = readers[0]; reader; reader = readers[0]) {
      const message = await reader(signal);
      if (message) return toBytes(message);
      readers.shift();
    }
    return undefined;
  };
  const body = readerStream(next, { signal: raw.signal, stallSeconds: settings.stallSeconds, onLeave });
  return new Response(body, {
    headers: {
      "content-type": contentType,
      "cache-control": "no-store",
      "x-accel-buffering": "no",
      "x-job-id": told.map(({ id }) => id).join(", "),
    },
  });
}

/**
 * Waits for jobs' ends, unless the client goes away first.
 * @param onLeave called once, at the end or when the client has gone
 */
export async function untilEnded(
  context: Context<ServerEnv>,
  jobs: readonly Job[],
  onLeave: () => void,
): Promise<void> {
  const { signal } = context.req.raw;
  keepOpen(context);
  signal.addEventListener("abort", onLeave);
  if (signal.aborted) onLeave();
  await Promise.all(jobs.map((job) => job.ended));
  signal.removeEventListener("abort", onLeave);
  onLeave();
}

/** Silence between steps is no reason to end a connection; a stream lets go of readers that stall by itself. */
function keepOpen(context: Context<ServerEnv>): void {
  context.env?.server?.timeout(context.req.raw, 0);
}

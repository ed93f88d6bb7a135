/** Chunks that wait for the reader; a chunk is a message's header or its payload. */
const CHUNKS_AHEAD = 2;

/**
 * A response's body that is made as it is read. Nothing is made ahead of a slow reader; one that takes nothing for
 * `stallSeconds` is let go.
 * @param next the following chunks, or undefined at the end; its signal fires when the reader is gone
 * @param onLeave called once, when the body has ended or its reader has gone
 */
export function readerStream(
  next: (signal: AbortSignal) => Promise<readonly Uint8Array[] | undefined>,
  { signal, stallSeconds, onLeave }: { signal: AbortSignal; stallSeconds: number; onLeave: () => void },
): ReadableStream<Uint8Array> {
  const gone = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const leave = (): void => {
    if (gone.signal.aborted) return;
    clearTimeout(timer);
    signal.removeEventListener("abort", leave);
    gone.abort();
    onLeave();
  };
  signal.addEventListener("abort", leave);
  if (signal.aborted) leave();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(timer);
        let chunks: readonly Uint8Array[] | undefined;
        try {
          chunks = gone.signal.aborted ? undefined : await next(gone.signal);
        } catch (error) {
          leave();
          throw error;
        }
        if (!chunks || gone.signal.aborted) {
          leave();
          try {
            controller.close();
          } catch {
            // The reader cancelled while the last chunk was made.
          }
          return;
        }
        for (const chunk of chunks) controller.enqueue(chunk);
        timer = setTimeout(() => {
          leave();
          controller.error(new Error("The reader took nothing for too long."));
        }, stallSeconds * 1000);
      },
      cancel: leave,
    },
    new CountQueuingStrategy({ highWaterMark: CHUNKS_AHEAD }),
  );
}

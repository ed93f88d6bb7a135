import type { Span } from "../../ffi/index.ts";
import type { TraceEvent } from "../pipeline/events.ts";

const DEVICE = 1;
const PROGRAM = 2;
const MICROSECONDS = 1e6;

/** A trace as Chrome (chrome://tracing) and Perfetto read it: two streams of the device, and the threads that feed them. */
export function chromeTrace({ origin, compute, masks }: TraceEvent, device: string): object {
  return {
    displayTimeUnit: "ms",
    traceEvents: [
      nameOf("process_name", DEVICE, undefined, device),
      nameOf("process_name", PROGRAM, undefined, "tamias"),
      ...stream({
        spans: compute,
        origin,
        row: 1,
        streamName: "compute stream",
        threadName: "denoise worker",
      }),
      ...stream({ spans: masks, origin, row: 2, streamName: "mask stream", threadName: "mask worker" }),
    ],
  };
}

function stream({
  spans,
  origin,
  row,
  streamName,
  threadName,
}: {
  spans: readonly Span[];
  origin: number;
  row: number;
  streamName: string;
  threadName: string;
}): object[] {
  if (spans.length === 0) return [];
  return [
    nameOf("thread_name", DEVICE, row, streamName),
    nameOf("thread_name", PROGRAM, row, threadName),
    ...spans.flatMap(({ name, start, seconds, queuedAt, queueSeconds }) => [
      event(name, DEVICE, row, start * MICROSECONDS, seconds),
      event(name, PROGRAM, row, (queuedAt - origin) * 1000, queueSeconds),
    ]),
  ];
}

function event(name: string, pid: number, tid: number, ts: number, seconds: number): object {
  const [op, cat] = [name.replace(/^tamias_/, ""), pid === DEVICE ? "device" : "queue"];
  return { name: op, cat, ph: "X", pid, tid, ts, dur: seconds * MICROSECONDS };
}

function nameOf(name: string, pid: number, tid: number | undefined, text: string): object {
  return { name, ph: "M", pid, ...(tid === undefined ? {} : { tid }), args: { name: text } };
}

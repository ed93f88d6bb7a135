import type { Stream } from "../../ffi/index.ts";
import { median } from "./median.ts";

/** Something to time: queues its work on the stream and returns. */
export type Work = () => void;

const WARM_UP_CALLS = 2;
/** Calls between two events add up to at least this, so that the events themselves do not count. */
const SECONDS_PER_SAMPLE = 1e-3;
const MOST_CALLS_PER_SAMPLE = 200;
/** Rivals share this much device time. */
const SECONDS_IN_ALL = 1.5;
const FEWEST_ROUNDS = 3;
const MOST_ROUNDS = 21;

/**
 * Median device seconds of one call of each rival, timed by events in interleaved rounds on one stream, so that all meet
 * the same clocks. Blocks until done.
 */
export function timeRivals(stream: Stream, rivals: readonly Work[]): number[] {
  const { device } = stream;
  using start = device.createEvent();
  using end = device.createEvent();
  const sample = (work: Work, calls: number): number => {
    start.record(stream);
    for (let call = 0; call < calls; call++) work();
    end.record(stream);
    stream.synchronize();
    return start.secondsUntil(end) / calls;
  };
  for (const rival of rivals) sample(rival, WARM_UP_CALLS);
  const estimates = rivals.map((rival) => sample(rival, 1));
  const calls = estimates.map((seconds) =>
    Math.min(MOST_CALLS_PER_SAMPLE, Math.max(1, Math.ceil(SECONDS_PER_SAMPLE / seconds))),
  );
  const secondsPerRound = estimates.reduce((sum, seconds, rival) => sum + seconds * calls[rival]!, 0);
  const rounds = Math.min(MOST_ROUNDS, Math.max(FEWEST_ROUNDS, Math.round(SECONDS_IN_ALL / secondsPerRound)));
  const samples: number[][] = rivals.map(() => []);
  for (let round = 0; round < rounds; round++)
    rivals.forEach((rival, index) => samples[index]!.push(sample(rival, calls[index]!)));
  return samples.map(median);
}

import type { Span } from "../../ffi/index.ts";

type Interval = Pick<Span, "start" | "seconds">;

/** Of the seconds that `side` was at work, the share during which `main` was at work too; 1 of nothing. */
export function hiddenShare(side: readonly Interval[], main: readonly Interval[]): number {
  const [masks, compute] = [busy(side), busy(main)];
  const total = masks.reduce((sum, [from, to]) => sum + to - from, 0);
  let hidden = 0;
  let at = 0;
  for (const [from, to] of masks) {
    while ((compute[at]?.[1] ?? Number.POSITIVE_INFINITY) <= from) at++;
    for (let next = at; (compute[next]?.[0] ?? Number.POSITIVE_INFINITY) < to; next++)
      hidden += Math.min(to, compute[next]![1]) - Math.max(from, compute[next]![0]);
  }
  return total === 0 ? 1 : hidden / total;
}

/** Stretches of time with work, in order and apart. */
function busy(spans: readonly Interval[]): [from: number, to: number][] {
  const stretches: [number, number][] = [];
  for (const { start, seconds } of spans.toSorted((a, b) => a.start - b.start)) {
    const last = stretches.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], start + seconds);
    else stretches.push([start, start + seconds]);
  }
  return stretches;
}

import type { Inspection } from "../pipeline/inspect.ts";
import { table } from "./format.ts";

/** What a run would need of a device's memory, for people. */
export function needsReport({ device, settings, needs, room, fits, advice = "" }: Inspection): string {
  const { width, height, steps, policy } = settings;
  const kept = Object.entries(needs.keptByPart).filter(([, bytes]) => bytes > 0);
  const rows = [
    row("weights", needs.weights),
    ...Object.entries(needs.weightsByPart).map(([part, bytes]) => row(`  ${part}`, bytes)),
    row("encoding text", needs.text),
    row("denoising", needs.denoising),
    ...kept.map(([part, bytes]) => row(`  ${words(part)}, kept for deltas`, bytes)),
    row("decoding", needs.decoding),
    row("what there is", room),
  ];
  const verdict = fits ? "It fits." : `It does not fit. ${advice}`;
  return (
    `${width} x ${height}, ${steps} steps, policy ${policy}, on ${device}: ` +
    `memory at most, weights included\n${table(rows)}${verdict}\n`
  );
}

function row(what: string, bytes: number): [string, string] {
  return [what, `${(bytes / 1e6).toFixed(0)} MB`.padStart(10)];
}

/** "logSumExps" -> "log sum exps" */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

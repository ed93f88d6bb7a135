import type { Inspection } from "../pipeline/inspect.ts";
import { table } from "./format.ts";

/** What a run would need of a device's memory, for people. */
export function needsReport({ device, settings, needs, room, fits, advice = "" }: Inspection): string {
  const { width, height, steps, policy } = settings;
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`.padStart(10);
  const rows = [
    ["weights", megabytes(needs.weights)],
    ["encoding text", megabytes(needs.text)],
    ["denoising", megabytes(needs.denoising)],
    ["decoding", megabytes(needs.decoding)],
    ["what there is", megabytes(room)],
  ];
  const verdict = fits ? "It fits." : `It does not fit. ${advice}`;
  return `${width} x ${height}, ${steps} steps, policy ${policy}, on ${device}: memory at most, weights included\n${table(rows)}${verdict}\n`;
}

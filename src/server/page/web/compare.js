import { drawDifference } from "./difference.js";
import { percent } from "./run.js";

/** Draws the difference of two pictures. @returns their peak signal-to-noise ratio */
export function compare(exact, other, canvas, gain) {
  if (exact.width !== other.width || exact.height !== other.height) return Number.NaN;
  const psnr = drawDifference(exact, other, canvas, gain);
  canvas.setAttribute("aria-label", `Difference between both pictures: ${decibels(psnr)}`);
  return psnr;
}

/** What came of the comparison, as names and values. */
export function verdictOf([exact, other], psnr) {
  const seconds = ({ settings }) => settings.seconds.total - settings.seconds.queue;
  return [
    ["exact", `${seconds(exact).toFixed(1)} s`],
    [other.settings.policy, `${seconds(other).toFixed(1)} s`],
    ["times as fast", (seconds(exact) / seconds(other)).toFixed(2)],
    ["columns computed", percent(other.settings.density)],
    ["PSNR", decibels(psnr)],
  ];
}

function decibels(psnr) {
  return Number.isFinite(psnr) ? `${psnr.toFixed(1)} dB` : "the same picture";
}

import type { Selector } from "./policy.ts";

/**
 * The share of columns a selector is expected to choose, before any was seen. Scores are taken to fall off
 * exponentially: the best share f then holds f (1 - ln f) of the sum, and a share exp(-1 - z) lies above mean + z
 * standard deviations.
 */
export function expectedDensity(selector: Selector): number {
  switch (selector.kind) {
    case "topK":
      return selector.density;
    case "mass":
      return clamp(shareHolding(selector.mass), selector.minDensity, selector.maxDensity);
    case "threshold":
      return clamp(Math.exp(-1 - selector.z), 0, selector.maxDensity);
  }
}

/** The most columns a selector may choose, of `columns`. */
export function mostColumns(selector: Selector, columns: number): number {
  return Math.ceil((selector.kind === "topK" ? selector.density : selector.maxDensity) * columns);
}

/** Solves f (1 - ln f) = mass by halving: the left side grows from 0 to 1 with f. */
function shareHolding(mass: number): number {
  let [low, high] = [0, 1];
  for (let halvings = 0; halvings < 40; halvings++) {
    const middle = (low + high) / 2;
    if (middle * (1 - Math.log(middle)) < mass) low = middle;
    else high = middle;
  }
  return high;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

/** Steps after which a delivered density counts: the report of a step is read before the second step after it. */
const READ_AFTER_STEPS = 2;

/**
 * What masks delivered in this run. A step's decisions use only what was delivered two or more steps before, whether or
 * not a later report has been read: a loop that looks one step ahead decides as one that does not.
 */
export class DeliveredDensities {
  /** The last few deliveries of each mask, newest last. */
  readonly #delivered = new Map<string, { readonly step: number; readonly density: number }[]>();

  note(mask: string, step: number, density: number): void {
    const known = this.#delivered.get(mask) ?? [];
    known.push({ step, density });
    // Older ones than the newest that counts are never asked for again.
    while ((known[1]?.step ?? Number.POSITIVE_INFINITY) <= step - READ_AFTER_STEPS) known.shift();
    this.#delivered.set(mask, known);
  }

  /** The newest that counts at `step`. */
  at(mask: string, step: number): number | undefined {
    return this.#delivered.get(mask)?.findLast((one) => one.step <= step - READ_AFTER_STEPS)?.density;
  }
}

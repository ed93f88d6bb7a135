import { InvalidArgumentError } from "commander";

/** Reads a whole number within bounds from the command line. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    return within(value, min, max, "It must be a whole number");
  };
}

/** Reads a decimal number within bounds from the command line. */
export function decimalNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d*\.?\d+$|^\d+\.$/.test(text) ? Number(text) : Number.NaN;
    return within(value, min, max, "It must be a number");
  };
}

function within(value: number, min: number, max: number, what: string): number {
  if (value >= min && value <= max) return value;
  throw new InvalidArgumentError(
    max === Number.MAX_SAFE_INTEGER ? `${what}, ${min} or more.` : `${what} from ${min} to ${max}.`,
  );
}

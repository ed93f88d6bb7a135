import { inOrder } from "../../../ffi/errors.ts";

export type LogLevel = "info" | "warn" | "error";

/** One thing that happened. Prompts and keys are never among the fields. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export type Logger = (level: LogLevel, message: string, fields?: LogFields) => void;

export const silent: Logger = () => {};

/** One JSON object a line. */
export function jsonLogger(write: (line: string) => void): Logger {
  return (level, message, fields = {}) =>
    write(`${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`);
}

/** An error as a line has it: what was thrown first, with its stack, and what failed while cleaning up after it. */
export function errorFields(error: unknown): LogFields {
  const { first, later } = inOrder(error);
  return {
    error: first instanceof Error ? (first.stack ?? first.message) : String(first),
    ...(later.length === 0 ? {} : { later: later.join(" ") }),
  };
}

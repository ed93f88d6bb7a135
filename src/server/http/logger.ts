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

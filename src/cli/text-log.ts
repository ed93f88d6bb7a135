import type { Logger } from "../server/http/logger.ts";

/** Log lines for people: the time, what happened, and the fields that are there. */
export function textLogger(write: (line: string) => void): Logger {
  return (level, message, fields = {}) => {
    const words = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(
        ([name, value]) =>
          `${name}=${typeof value === "string" && /\s/.test(value) ? JSON.stringify(value) : value}`,
      );
    const time = new Date().toISOString().slice(11, 19);
    write(`${time} ${level === "info" ? "" : `${level}: `}${message} ${words.join(" ")}\n`);
  };
}

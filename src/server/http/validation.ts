import type { z } from "zod";
import { nearestWord } from "../../pipeline/nearest-word.ts";
import { type FieldError, Problem } from "./problem.ts";

const MOST_ERRORS = 10;
const LONGEST_ECHO = 60;

/** What did not pass a schema, field by field, with what is allowed and what was probably meant. */
export function validationProblem(
  error: z.core.$ZodError,
  data: unknown,
  { part, known }: { part: string; known: readonly string[] },
): Problem {
  const errors = error.issues
    .flatMap((issue) => fieldErrors(issue, data, { part, known }))
    .slice(0, MOST_ERRORS);
  const [first] = errors;
  const detail = first
    ? `${first.field ? `${first.field}: ` : ""}${first.message}`
    : "The request is not understood.";
  return new Problem(422, "invalid_request", detail, { errors });
}

function fieldErrors(
  issue: z.core.$ZodIssue,
  data: unknown,
  { part, known }: { part: string; known: readonly string[] },
): FieldError[] {
  const path = issue.path.map(String);
  const field = [...(part === "body" ? [] : [part]), ...path].join(".");
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => {
      const suggestion = path.length === 0 ? nearestWord(key, known) : undefined;
      return {
        field: [...path, cut(key)].join("."),
        message: `there is no such field.${suggestion ? ` Did you mean "${suggestion}"?` : ""}`,
        ...(suggestion ? { suggestion } : {}),
      };
    });
  const value = valueAt(data, issue.path);
  const { message, params } = complaint(issue, value);
  return [{ field, message: sentence(message), ...params }];
}

/** What is wrong with a value, in a form that zod's custom issues carry too. */
export interface Complaint {
  readonly message: string;
  readonly params?: { readonly allowed?: unknown[]; readonly suggestion?: string };
}

/** For a value that is none of a few. */
export function noneOf(value: unknown, allowed: readonly unknown[]): Complaint {
  const words = allowed.map(String);
  const suggestion = typeof value === "string" ? nearestWord(value, words) : undefined;
  return {
    message: `${quoted(value)} is none of ${words.join(", ")}.${suggestion ? ` Did you mean "${suggestion}"?` : ""}`,
    params: { allowed: [...allowed], ...(suggestion ? { suggestion } : {}) },
  };
}

function complaint(issue: z.core.$ZodIssue, value: unknown): Complaint {
  switch (issue.code) {
    case "invalid_value":
      return noneOf(
        value,
        issue.values.filter((each) => each !== undefined),
      );
    case "invalid_type":
      return {
        message:
          value === undefined
            ? `is missing; it must be ${a(issue.expected)}`
            : `must be ${a(issue.expected)}`,
      };
    case "custom":
      return { message: issue.message, params: issue.params ?? {} };
    default:
      return { message: issue.message };
  }
}

function a(type: string): string {
  const word = type === "int" ? "whole number" : type;
  return `${/^[aeio]/.test(word) ? "an" : "a"} ${word}`;
}

function valueAt(data: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    data,
  );
}

/** A value as an error repeats it: short, whatever it was. */
export function quoted(value: unknown): string {
  if (value === undefined) return "Nothing";
  return typeof value === "string" ? `"${cut(value)}"` : cut(String(JSON.stringify(value) ?? typeof value));
}

function cut(text: string): string {
  return text.length > LONGEST_ECHO ? `${text.slice(0, LONGEST_ECHO)}…` : text;
}

function sentence(text: string): string {
  return /[.?]$/.test(text) ? text : `${text}.`;
}

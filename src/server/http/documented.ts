import type { RouteConfig } from "@hono/zod-openapi";
import type { z } from "zod";
import { Problem, type ProblemStatus, problemSchema } from "./problem.ts";
import { validationProblem } from "./validation.ts";

type Responses = RouteConfig["responses"];

const problemWords: Partial<Record<ProblemStatus, string>> = {
  400: "malformed, or more than this model can do",
  401: "an API key is needed",
  404: "no such thing",
  409: "the job was cancelled",
  413: "the body is too large",
  415: "the body's content type is not taken",
  422: "a field is wrong; `errors` says which, and what is allowed",
  429: "no room now; `Retry-After` says when to try again",
  503: "shutting down, or the device failed or was lost",
  504: "the job took too long",
};

/** The answers of a route in the document: its own, and the problems it may meet. */
export function responses(own: Responses, problems: readonly ProblemStatus[]): Responses {
  const entries = problems.map((status) => [
    status,
    {
      description: problemWords[status] ?? "problem",
      content: { "application/problem+json": { schema: problemSchema } },
    },
  ]);
  return { ...own, ...Object.fromEntries(entries) };
}

export function json(description: string, schema: z.ZodType): Responses[string] {
  return { description, content: { "application/json": { schema } } };
}

const parts: Record<string, string> = { json: "body", query: "query", param: "path", header: "header" };

type Validation = { readonly target: string } & (
  | { readonly success: true }
  | { readonly success: false; readonly error: z.core.$ZodError; readonly data?: unknown }
);

/** Tells what is wrong with a request. @param known the fields that the body may have */
export function explain(known: readonly string[] = []): (result: Validation) => undefined {
  return (result) => {
    if (result.success) return undefined;
    const part = parts[result.target] ?? result.target;
    throw part === "path"
      ? new Problem(404, "not_found", "There is nothing here.")
      : validationProblem(result.error, result.data, { part, known });
  };
}

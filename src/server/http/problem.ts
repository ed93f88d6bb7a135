import { z } from "zod";

/** What is wrong with one field of a request. */
export const fieldErrorSchema = z.object({
  field: z
    .string()
    .meta({ description: "where, for instance `policy` or `query.after`; empty for the whole body" }),
  message: z.string(),
  allowed: z.array(z.unknown()).optional(),
  suggestion: z.string().optional(),
});
export type FieldError = z.output<typeof fieldErrorSchema>;

/** RFC 9457, with a stable code. */
export const problemSchema = z
  .object({
    type: z.literal("about:blank"),
    title: z.string(),
    status: z.int(),
    code: z.string().meta({ description: "stable, for programs" }),
    detail: z.string(),
    hint: z.string().optional(),
    errors: z.array(fieldErrorSchema).optional(),
    request_id: z.string(),
  })
  .meta({ id: "Problem" });

const titles = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
} as const;
export type ProblemStatus = keyof typeof titles;

/** A request that cannot be answered, told in the dialect it came in. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly status: ProblemStatus;
  readonly code: string;
  readonly hint: string | undefined;
  readonly errors: readonly FieldError[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: ProblemStatus,
    code: string,
    detail: string,
    {
      hint,
      errors = [],
      headers = {},
    }: { hint?: string | undefined; errors?: readonly FieldError[]; headers?: Record<string, string> } = {},
  ) {
    super(detail);
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.errors = errors;
    this.headers = headers;
  }

  /** `application/problem+json` */
  toNative(requestId: string): Response {
    const { status, code, message: detail, hint, errors } = this;
    const body: z.output<typeof problemSchema> = {
      type: "about:blank",
      title: titles[status],
      status,
      code,
      detail,
      ...(hint === undefined ? {} : { hint }),
      ...(errors.length === 0 ? {} : { errors: [...errors] }),
      request_id: requestId,
    };
    return Response.json(body, {
      status,
      headers: { ...this.headers, "content-type": "application/problem+json" },
    });
  }

  /** OpenAI's error shape; it knows no 422. */
  toOpenAi(): Response {
    const { code, message, hint, errors } = this;
    const status = this.status === 422 ? 400 : this.status;
    return Response.json(
      {
        error: {
          message: hint === undefined ? message : `${message} ${hint}`,
          type: openAiType(status),
          param: errors[0]?.field || null,
          code,
        },
      },
      { status, headers: this.headers },
    );
  }
}

export function openAiType(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

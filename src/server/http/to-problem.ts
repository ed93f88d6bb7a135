import { HTTPException } from "hono/http-exception";
import { inOrder, TamiasError, type TamiasErrorCode } from "../../../ffi/errors.ts";
import { Refusal, type RefusalCode } from "../jobs/refusal.ts";
import type { MessageOf } from "../jobs/messages.ts";
import { Problem, type ProblemStatus } from "./problem.ts";

const refusalStatus: Record<RefusalCode, ProblemStatus> = {
  queue_full: 429,
  too_many_jobs: 429,
  shutting_down: 503,
  idempotency_key_reused: 422,
};

const tamiasStatus: Partial<Record<TamiasErrorCode, ProblemStatus>> = {
  bad_input: 422,
  not_found: 404,
  unsupported: 400,
  does_not_fit: 422,
  device_failed: 503,
  device_lost: 503,
  disposed: 503,
  out_of_memory: 503,
};

const httpDetails: Partial<Record<number, readonly [code: string, detail: string]>> = {
  400: ["bad_request", "The request is malformed."],
  413: ["body_too_large", "The request's body is larger than this server allows."],
  415: ["unsupported_media_type", "The body's content type is not one of those this route takes."],
};

/** Whatever was thrown, as an answer; undefined for a mistake of the server's own. */
export function toProblem(error: unknown): Problem | undefined {
  if (error instanceof Problem) return error;
  if (error instanceof Refusal) {
    const headers: Record<string, string> =
      error.retryAfter === undefined ? {} : { "retry-after": String(error.retryAfter) };
    return new Problem(refusalStatus[error.code], error.code, error.message, { headers });
  }
  const { first } = inOrder(error);
  if (first instanceof TamiasError) {
    const status = tamiasStatus[first.code];
    const headers = status === 503 ? { "retry-after": "1" } : {};
    return status && new Problem(status, first.code, first.message, { hint: first.hint, headers });
  }
  if (error instanceof HTTPException && error.status < 500) {
    const [code, detail] = httpDetails[error.status] ?? ["bad_request", "The request is not understood."];
    const status = error.status in httpDetails ? (error.status as ProblemStatus) : 400;
    return new Problem(status, code, error.status === 400 ? sentence(error.message) || detail : detail);
  }
  return undefined;
}

const failureStatus: Record<string, ProblemStatus> = {
  bad_input: 422,
  not_found: 404,
  unsupported: 400,
  does_not_fit: 422,
  timeout: 504,
  shutting_down: 503,
  device_failed: 503,
  device_lost: 503,
  disposed: 503,
  out_of_memory: 503,
};

/** A job that ended without a picture, as the answer of a request that waited for it. */
export function failureProblem(message: MessageOf<"error" | "cancelled">): Problem {
  if (message.type === "cancelled")
    return new Problem(409, "cancelled", `The job was cancelled: ${message.reason}.`);
  const { code, message: detail, hint, retry } = message;
  return new Problem(failureStatus[code] ?? 500, code, detail, {
    hint,
    headers: retry ? { "retry-after": "1" } : {},
  });
}

function sentence(text: string): string {
  return text === "" || text.endsWith(".") ? text : `${text}.`;
}

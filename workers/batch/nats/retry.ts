import { JetStreamApiError } from "@nats-io/jetstream";
import {
  AuthorizationError,
  ClosedConnectionError,
  DrainingConnectionError,
  InvalidArgumentError,
  InvalidSubjectError,
  PermissionViolationError,
  UserAuthenticationExpiredError,
} from "@nats-io/transport-node";
import { setTimeout as sleep } from "node:timers/promises";
import { TamiasError, throwIfAborted } from "../../../ffi/errors.ts";

const FIRST_PAUSE_MILLISECONDS = 50;
const LONGEST_PAUSE_MILLISECONDS = 2000;
/** A server that stays away is told of this often. */
const WARNING_SECONDS = 60;

export interface RetryOptions {
  /** What is done, as in "The task cannot be published". */
  readonly what: string;
  readonly signal: AbortSignal;
  /** How long a server may be away. */
  readonly patienceSeconds: number;
  readonly onWarning: (message: string) => void;
}

/**
 * Repeats what fails while a server is away, at growing intervals.
 * @throws TamiasError `io` when the server stays away, or at once when it will refuse the same for ever; `aborted`
 */
export async function retry<T>(
  work: () => Promise<T>,
  { what, signal, patienceSeconds, onWarning }: RetryOptions,
): Promise<T> {
  const began = performance.now();
  let nextWarning = 0;
  for (let pause = FIRST_PAUSE_MILLISECONDS; ; pause = Math.min(LONGEST_PAUSE_MILLISECONDS, pause * 2)) {
    throwIfAborted(signal);
    try {
      return await work();
    } catch (cause) {
      throwIfAborted(signal);
      const reason = cause instanceof Error ? cause.message : String(cause);
      if (isPermanent(cause)) throw new TamiasError("io", `${what}: ${reason}.`, { cause });
      const seconds = (performance.now() - began) / 1000;
      if (seconds > patienceSeconds)
        throw new TamiasError(
          "io",
          `${what}: the queue has been away for ${Math.round(seconds)} s (${reason}).`,
          {
            hint: "Start the NATS server again; a batch goes on with --resume.",
            cause,
          },
        );
      if (seconds >= nextWarning) {
        nextWarning = seconds + WARNING_SECONDS;
        onWarning(`${what}: ${reason}. It is tried again for ${Math.round(patienceSeconds - seconds)} s.`);
      }
      await sleep(pause, undefined, { signal }).catch(() => {});
    }
  }
}

/** What the client refuses, or the server does not allow, however often it is asked. */
const permanentErrors = [
  AuthorizationError,
  ClosedConnectionError,
  DrainingConnectionError,
  InvalidArgumentError,
  InvalidSubjectError,
  PermissionViolationError,
  TamiasError,
  TypeError,
  UserAuthenticationExpiredError,
];

/** Request timeout, conflict with something that goes on, too many requests. */
const passingStatuses = new Set([408, 409, 429]);

function isPermanent(error: unknown): boolean {
  if (error instanceof JetStreamApiError)
    return error.status >= 400 && error.status < 500 && !passingStatuses.has(error.status);
  if (permanentErrors.some((kind) => error instanceof kind)) return true;
  return error instanceof Error && error.cause !== undefined && isPermanent(error.cause);
}

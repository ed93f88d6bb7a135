import { CommanderError } from "commander";
import { inOrder, TamiasError } from "../../ffi/errors.ts";

/** An error as a person or a program reads it. */
export interface ErrorReport {
  /** A `TamiasErrorCode`, or `usage` for a mistake in the command line. */
  readonly code: string;
  /** One sentence. */
  readonly message: string;
  /** What to do about it. */
  readonly hint?: string;
  /** What failed while it was being cleaned up after, a sentence each. */
  readonly later?: readonly string[];
  /** Where it happened; only for mistakes in Tamias itself. */
  readonly trace?: string;
}

/** Of several errors, as disposers that fail make them, the first is the one that is told. */
export function describeError(error: unknown): ErrorReport {
  const { first, later } = inOrder(error);
  return { ...describeFirst(first), ...(later.length === 0 ? {} : { later }) };
}

function describeFirst(error: unknown): ErrorReport {
  if (error instanceof TamiasError) {
    const { code, message, hint } = error;
    return { code, message, ...(hint ? { hint } : {}) };
  }
  if (error instanceof CommanderError) {
    const [message = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
    const hint = rest.join(" ").replace(/^\((.*)\)$/, "$1");
    return { code: "usage", message, ...(hint ? { hint } : {}) };
  }
  const message = error instanceof Error ? error.message : String(error);
  return {
    code: "internal",
    message: `A mistake in Tamias itself: ${message}`,
    ...(error instanceof Error && error.stack ? { trace: error.stack } : {}),
  };
}

import { TamiasError } from "../../../ffi/errors.ts";
import { columnPolicy, columnPolicySchema } from "../column-policy.ts";
import type { Policy } from "../policy.ts";
import { balanced } from "./balanced.ts";
import { chipmunk } from "./chipmunk.ts";
import { exact } from "./exact.ts";
import { fast } from "./fast.ts";

/** The named policies, from the most faithful to the fastest. */
export const policies: readonly Policy[] = [exact, chipmunk, balanced, fast];

/**
 * A policy by name, or from settings of column deltas.
 * @throws TamiasError `not_found` for an unknown name, `bad_input` for settings out of range
 */
export function findPolicy(asked: unknown): Policy {
  if (typeof asked === "string") {
    const found = policies.find(({ name }) => name === asked);
    if (found) return found;
    throw new TamiasError("not_found", `There is no policy "${asked}".`, {
      hint: `Policies are ${policies.map(({ name }) => name).join(", ")}.`,
    });
  }
  const settings = columnPolicySchema.safeParse(asked);
  if (settings.success) return columnPolicy(settings.data);
  const [issue] = settings.error.issues;
  throw new TamiasError(
    "bad_input",
    `policy${issue ? ` at "${issue.path.join(".")}": ${issue.message}` : " is not understood"}.`,
  );
}

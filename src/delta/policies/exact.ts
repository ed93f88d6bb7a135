import type { Policy } from "../policy.ts";
import { columnPolicy } from "../column-policy.ts";

/** Everything dense: the reference. */
export const exact: Policy = columnPolicy({
  name: "exact",
  description: "everything dense: the reference",
  attention: null,
  mlp: null,
});

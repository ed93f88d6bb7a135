import type { FamilyKind } from "../models/family.ts";
import { flux } from "../models/flux/family.ts";

/** The kinds of pipeline this build can run: what `open`, `models` and `verify` know. */
export const families: readonly FamilyKind[] = [flux];

/** The family of a pipeline class, undefined for one this build has no network for. */
export function familyOf(pipeline: string): FamilyKind | undefined {
  return families.find((family) => family.pipeline === pipeline);
}

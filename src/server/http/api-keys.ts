import { createHash, timingSafeEqual } from "node:crypto";
import type { ApiKey } from "../settings.ts";

/** Finds whose API key it is, in a time that does not tell how much of it was right. */
export function keyOwners(keys: readonly ApiKey[]): (key: string) => string | undefined {
  const owners = keys.map(({ name, key }) => ({ name, digest: digestOf(key) }));
  return (key) => {
    const digest = digestOf(key);
    let found: string | undefined;
    for (const owner of owners) if (timingSafeEqual(owner.digest, digest)) found = owner.name;
    return found;
  };
}

function digestOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

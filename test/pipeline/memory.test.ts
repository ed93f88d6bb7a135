import { expect, test } from "bun:test";
import { fileURLToPath } from "node:url";

/** What a process holds after each of some pictures: in its own words, and as the system counts it. */
interface Held {
  readonly deviceBytes: number;
  readonly residentBytes: number;
}

const SIDE_MULTIPLE = 8;

async function afterPictures(sizes: readonly (readonly [number, number])[]): Promise<Held> {
  const program = fileURLToPath(new URL("support/held-after.ts", import.meta.url));
  const child = Bun.spawn([process.execPath, program, JSON.stringify(sizes)], { stdout: "pipe" });
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return JSON.parse(text);
}

test("pictures of mixed sizes leave no more behind than the smallest alone", async () => {
  const side = (step: number) => SIDE_MULTIPLE * (8 + ((step * 7) % 25));
  const smallest = [64, 64] as const;
  const mixed = Array.from({ length: 20 }, (_, at) => [side(at), side(at + 3)] as const);
  const [alone, all] = await Promise.all([
    afterPictures([smallest, smallest]),
    afterPictures([...mixed, smallest, [256, 256]]),
  ]);
  expect(all.deviceBytes).toBe(alone.deviceBytes);
  expect(all.residentBytes).toBeLessThan(1.1 * alone.residentBytes);
}, 240_000);

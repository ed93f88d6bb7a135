// Makes pictures of the sizes in its argument, then prints what memory it holds.
import { open } from "../../../src/index.ts";

await using tamias = await open({ model: "acorn-image", device: "cpu", threads: 1 });
const sizes: [number, number][] = JSON.parse(process.argv[2]!);
for (const [width, height] of sizes)
  for await (const _ of tamias.generate({ prompt: "an owl", width, height, steps: 2, seed: 1 }));
Bun.gc(true);
await Bun.sleep(200);
process.stdout.write(
  JSON.stringify({ deviceBytes: tamias.deviceBytes, residentBytes: process.memoryUsage().rss }),
);

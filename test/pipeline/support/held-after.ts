// Makes pictures of the sizes in its argument, then prints what memory it holds.
import { open } from "../../../src/index.ts";

await using tamias = await open({ model: "acorn-image", device: "cpu", threads: 1 });
const sizes: [number, number][] = JSON.parse(process.argv[2]!);
for (const [width, height] of sizes)
  for await (const _ of tamias.generate({ prompt: "an owl", width, height, steps: 2, seed: 1 }));
// JavaScript's own heap goes back to the system little by little.
let residentBytes = Number.POSITIVE_INFINITY;
for (let times = 0; times < 12; times++) {
  Bun.gc(true);
  await Bun.sleep(250);
  residentBytes = Math.min(residentBytes, process.memoryUsage().rss);
}
process.stdout.write(JSON.stringify({ deviceBytes: tamias.deviceBytes, residentBytes }));

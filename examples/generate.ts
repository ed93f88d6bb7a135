// Makes a picture from a Bun script, with estimates on the way.
//   bun examples/generate.ts "3d render of a red apple on a sky blue background"
import { encodePng, open } from "tamias";

const [prompt = "3d render of a red apple on a sky blue background"] = process.argv.slice(2);

await using tamias = await open({ model: process.env.TAMIAS_MODEL ?? "acorn-image" });
for await (const event of tamias.generate({
  prompt,
  seed: 7,
  steps: 20,
  policy: "balanced",
  previewEvery: 5,
})) {
  switch (event.type) {
    case "start":
      console.log(`${event.settings.width} x ${event.settings.height} on ${event.device}`);
      break;
    case "step":
      console.log(
        `step ${event.step + 1}/${event.steps}: ${(event.density * 100).toFixed(0)} % of the columns`,
      );
      break;
    case "preview":
      await Bun.write(`out/example-${event.step + 1}.png`, encodePng(event));
      break;
    case "result":
      await Bun.write("out/example.png", encodePng(event));
      console.log(`out/example.png after ${event.seconds.total.toFixed(1)} s`);
  }
}

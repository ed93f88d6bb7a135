// Asks a running server (`npm run serve`) for a picture, and writes each estimate of it.
//   bun examples/client.ts "3d render of an owl on a red background"
import { generate } from "tamias/client";

const [prompt = "3d render of an owl on a red background"] = process.argv.slice(2);
const url = process.env.TAMIAS_URL ?? "http://127.0.0.1:8787";

for await (const message of generate({ prompt, previews: 4, output_format: "webp" }, { url })) {
  switch (message.type) {
    case "queued":
      console.log(`${message.position} before it`);
      break;
    case "step":
      console.log(`step ${message.step + 1}/${message.steps}: ${Math.round(message.density * 100)} %`);
      break;
    case "preview":
      await Bun.write(`out/client-${message.step + 1}.${message.format}`, message.payload);
      break;
    case "result":
      await Bun.write("out/client.webp", message.payload);
      console.log(`out/client.webp after ${message.seconds.total.toFixed(1)} s`);
      break;
    case "error":
      console.error(`${message.message} ${message.hint ?? ""}`);
      process.exitCode = 1;
  }
}

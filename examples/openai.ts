// The same server through OpenAI's client.
//   bun examples/openai.ts
import OpenAI from "openai";

const url = process.env.TAMIAS_URL ?? "http://127.0.0.1:8787";
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.TAMIAS_API_KEY ?? "none" });

const stream = await client.images.generate({
  prompt: "3d render of a red apple on a sky blue background",
  stream: true,
  partial_images: 3,
});
for await (const event of stream) {
  const name = event.type === "image_generation.completed" ? "done" : event.partial_image_index;
  await Bun.write(`out/openai-${name}.png`, Buffer.from(event.b64_json, "base64"));
  console.log(event.type, event.size);
}

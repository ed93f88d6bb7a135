import { generate } from "./client.js";

const ends = new Set(["result", "cancelled", "error"]);

/**
 * Draws one picture into a view as the server tells it.
 * @returns what history keeps, and a sentence about it
 */
export async function run(request, view, { apiKey, signal }) {
  view.begin(request);
  const messages = generate(
    { ...request, columns: true, previews: 5, output_format: "png" },
    { url: document.baseURI, apiKey, signal },
  );
  for await (const message of messages) {
    await view.show(message);
    if (!ends.has(message.type)) continue;
    if (message.type !== "result") throw new Error(message.message ?? `Cancelled: ${message.reason}.`);
    const { payload, type: _, ...settings } = message;
    const blob = new Blob([payload], { type: "image/png" });
    const words = `${settings.policy}: ${settings.seconds.denoise.toFixed(1)} seconds at ${percent(settings.density)} density.`;
    return { settings, blob, words, steps: view.steps };
  }
  throw new Error("The server ended the answer early.");
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

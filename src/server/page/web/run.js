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
  let end;
  for await (const message of messages) {
    await view.show(message);
    if (ends.has(message.type)) end = message;
  }
  if (!end) throw new Error("The server ended the answer early.");
  if (end.type !== "result") throw new Error(end.message ?? `Cancelled: ${end.reason}.`);
  const { payload, type: _, ...settings } = end;
  const blob = new Blob([payload], { type: "image/png" });
  const words = `${settings.policy}: ${settings.seconds.denoise.toFixed(1)} seconds at ${percent(settings.density)} density.`;
  return { settings, blob, words, steps: view.steps };
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

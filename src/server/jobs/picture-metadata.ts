import type { ResultEvent } from "../../pipeline/events.ts";
import { version } from "../../version.ts";

/** What a picture says about its making: enough to make it again. */
export function pictureMetadata({ settings, density }: ResultEvent): Record<string, string> {
  return {
    Software: `Tamias ${version}`,
    ...Object.fromEntries(Object.entries(settings).map(([key, value]) => [key, String(value)])),
    density: density.toFixed(4),
  };
}

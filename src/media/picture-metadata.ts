import type { ResultEvent } from "../pipeline/events.ts";
import { version } from "../version.ts";

/** What made a picture, besides what its result tells. */
export interface MadeBy {
  /** Name of the device. */
  readonly device: string;
  /** As it was asked for: a name, or settings, which `custom` alone does not tell. */
  readonly policy: string | object;
}

/** What a picture says about its making: enough to make it again with this version, on the same kind of device. */
export function pictureMetadata(result: ResultEvent, { device, policy }: MadeBy): Record<string, string> {
  const { settings, density, attentionDensity, mlpDensity } = result;
  return {
    Software: `Tamias ${version}`,
    prompt: settings.prompt,
    model: settings.model,
    seed: String(settings.seed),
    steps: String(settings.steps),
    guidance: String(settings.guidance),
    policy: settings.policy,
    ...(typeof policy === "string" ? {} : { policySettings: JSON.stringify(policy) }),
    width: String(settings.width),
    height: String(settings.height),
    device,
    density: density.toFixed(4),
    attentionDensity: attentionDensity.toFixed(4),
    mlpDensity: mlpDensity.toFixed(4),
  };
}

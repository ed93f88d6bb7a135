import type { GenerateReport } from "./generate-report.ts";

/** What a picture says about its making: enough to make it again. */
export function pictureMetadata(report: GenerateReport): Record<string, string> {
  const { version, device, settings, policySettings, density } = report;
  return {
    Software: `Tamias ${version}`,
    prompt: settings.prompt,
    model: settings.model,
    seed: String(settings.seed),
    steps: String(settings.steps),
    guidance: String(settings.guidance),
    policy: settings.policy,
    ...(policySettings ? { policySettings: JSON.stringify(policySettings) } : {}),
    width: String(settings.width),
    height: String(settings.height),
    device,
    density: density.mean.toFixed(4),
    attentionDensity: density.attention.toFixed(4),
    mlpDensity: density.mlp.toFixed(4),
  };
}

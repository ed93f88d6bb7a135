import type { ColumnPolicySettings } from "../delta/column-policy.ts";
import type { Action } from "../delta/policy.ts";
import type { ResultEvent, Settings, StartEvent, StepEvent, TraceEvent } from "../pipeline/events.ts";
import { stepWord } from "../media/step-word.ts";
import { median } from "../bench/median.ts";
import { version } from "../version.ts";

/** Everything a run told. */
export interface FollowedRun {
  readonly start: StartEvent;
  readonly steps: readonly StepEvent[];
  readonly result: ResultEvent;
  readonly trace?: TraceEvent | undefined;
}

/** What `--json` prints of a run, besides its files. */
export interface GenerateReport {
  readonly version: string;
  readonly device: string;
  readonly settings: Settings;
  /** The settings of a policy that has no name. */
  readonly policySettings?: ColumnPolicySettings;
  readonly tokens: { readonly image: number; readonly text: number };
  readonly seconds: {
    readonly load: number;
    readonly encode: number;
    readonly denoise: number;
    readonly decode: number;
    /** With loading. */
    readonly total: number;
  };
  /** Median over all steps. */
  readonly secondsPerStep: number;
  /** Means over all steps. */
  readonly density: { readonly mean: number; readonly attention: number; readonly mlp: number };
  readonly steps: readonly StepReport[];
}

export interface StepReport {
  /** 0-based. */
  readonly step: number;
  readonly sigma: number;
  readonly action: Action | "skip";
  readonly seconds: number;
  readonly density: number;
  readonly attentionDensity: number;
  readonly mlpDensity: number;
}

export function makeReport(
  { start, steps, result }: FollowedRun,
  loadSeconds: number,
  policy: string | ColumnPolicySettings,
): GenerateReport {
  return {
    version,
    device: start.device,
    settings: result.settings,
    ...(typeof policy === "string" ? {} : { policySettings: policy }),
    tokens: { image: start.imageTokens, text: start.textTokens },
    seconds: { load: loadSeconds, ...result.seconds, total: loadSeconds + result.seconds.total },
    secondsPerStep: median(steps.map(({ seconds }) => seconds)),
    density: { mean: result.density, attention: result.attentionDensity, mlp: result.mlpDensity },
    steps: steps.map((event) => ({
      step: event.step,
      sigma: event.sigma,
      action: stepWord(event),
      seconds: event.seconds,
      density: event.density,
      attentionDensity: event.attentionDensity,
      mlpDensity: event.mlpDensity,
    })),
  };
}

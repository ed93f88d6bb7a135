import { throwIfAborted } from "../../ffi/errors.ts";
import { type DeviceTensor, type Event, type Stream, TamiasError } from "../../ffi/index.ts";
import type { Costs } from "../delta/cost-model.ts";
import type { Placement } from "../delta/cache-place.ts";
import { type DeltaNeeds, deltaNeeds } from "../delta/needs.ts";
import type { Plan, Policy, RunShape, StepAction } from "../delta/policy.ts";
import { DeltaRun, type DensityReport, type StepReport } from "../delta/run.ts";
import type { Conditioning, Family } from "../models/family.ts";
import type { Ops } from "../nn/index.ts";
import { VelocityExtrapolation } from "./extrapolation.ts";
import { isFinite, normsOf } from "./finite.ts";

/** Steps that take less are queued one ahead; longer ones are not, so that a stop never waits for two of them. */
const LOOK_AHEAD_SECONDS = 0.5;

/** What the loop is given. */
export interface Denoising {
  readonly family: Family;
  readonly conditioning: Conditioning;
  readonly policy: Policy;
  readonly steps: number;
  /** F32 [batch, tokens, tokenChannels], in the layout's order: noise, and at the end the finished latents. */
  readonly latents: DeviceTensor;
  /** Draws the plan's random columns. */
  readonly seed: number;
  /** Ops of the mask stream, where there is one. */
  readonly maskOps?: Ops | undefined;
  /** What deltas cost on this machine; default: the backend's shipped costs. */
  readonly costs?: Costs | undefined;
  /** Where what the run keeps is to lie; default: on the device. */
  readonly place?: ((needs: DeltaNeeds) => Placement) | undefined;
  readonly recordColumns?: boolean;
  /** Whether a step's estimate of the finished latents is wanted. */
  wantsEstimate?(step: number): boolean;
  /** Whether the latents are looked at after each step: then no step is queued ahead. */
  readonly isWatched?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface DenoisedStep extends DensityReport {
  /** 0-based. */
  readonly step: number;
  readonly sigma: number;
  /** Wall time since the step before was told. */
  readonly seconds: number;
  readonly action: StepAction;
  /** The finished latents expected at this step, where they are wanted; valid until the next step is asked for. */
  readonly estimate: DeviceTensor | undefined;
}

/**
 * The denoising loop of every family: schedule, what each step does, branches and their combination, looking ahead,
 * reports and cancellation.
 * @throws TamiasError `aborted` within one step of the signal; `not_finite` when a step yields NaN or infinity
 */
export async function* denoise(ops: Ops, run: Denoising): AsyncGenerator<DenoisedStep, void, void> {
  using queue = new StepQueue(ops, run);
  let lastTold = performance.now();
  let lastSeconds = Number.POSITIVE_INFINITY;
  let ahead: QueuedStep | undefined;
  try {
    for (let step = 0; step < run.steps; step++) {
      throwIfAborted(run.signal);
      using current = ahead ?? queue.step(step);
      // The device gets short steps before it has finished the one before, so that it never waits for this program.
      const mayLookAhead =
        queue.mayLookAhead &&
        lastSeconds < LOOK_AHEAD_SECONDS &&
        step + 1 < run.steps &&
        !current.estimate &&
        !run.recordColumns &&
        !run.isWatched;
      ahead = mayLookAhead ? queue.step(step + 1) : undefined;
      const report = await current.finish();
      const now = performance.now();
      lastSeconds = (now - lastTold) / 1000;
      lastTold = now;
      const { sigma, action, estimate } = current;
      yield { step, sigma, seconds: lastSeconds, action, estimate, ...report };
      // What the reader did with an estimate is no part of the next step.
      if (estimate) lastTold = performance.now();
    }
  } finally {
    ahead?.[Symbol.dispose]();
  }
}

/** Queues the steps of one run, and owns what they remember. */
class StepQueue implements Disposable {
  readonly #ops: Ops;
  readonly #run: Denoising;
  readonly #plan: Plan;
  readonly #owned: DisposableStack;
  readonly #sampler;
  readonly #schedule;
  readonly #delta: DeltaRun;
  /** Reads what a step told while the next one runs. */
  readonly #reader: Stream;
  readonly #branches: readonly BranchState[];
  /** The step's velocity; the only branch's own where there is one. */
  readonly #velocity: DeviceTensor;

  constructor(ops: Ops, run: Denoising) {
    const { family, conditioning, policy, steps, latents, seed, recordColumns, maskOps, costs, place } = run;
    const { branches, text } = conditioning;
    const { shape } = latents;
    const [batch = 0, tokens = 0] = shape;
    const runShape: RunShape = {
      steps,
      branches: branches.length,
      modules: family.modules({ latent: tokens, text: text.textTokens }),
      batch,
      ...text,
    };
    const plan = policy.plan(runShape);
    using owned = new DisposableStack();
    this.#ops = ops;
    this.#run = run;
    this.#plan = plan;
    this.#schedule = family.sampler.schedule(steps, tokens);
    this.#sampler = owned.use(family.sampler.begin(ops, this.#schedule, shape));
    this.#branches = branches.map(() => ({
      velocity: owned.use(ops.memory.persistent(shape, "f32")),
      extrapolation: plan.maySkip
        ? owned.use(new VelocityExtrapolation(ops, shape, plan.skipForecast))
        : undefined,
    }));
    this.#velocity =
      this.#branches.length === 1
        ? this.#branches[0]!.velocity
        : owned.use(ops.memory.persistent(shape, "f32"));
    const placement = place?.(deltaNeeds(plan, runShape, ops.stream.device.info(), costs));
    this.#delta = owned.use(
      new DeltaRun(ops, plan, { ...runShape, seed, recordColumns, maskOps, costs, placement }),
    );
    this.#reader = owned.use(ops.stream.device.createStream());
    this.#owned = owned.move();
  }

  /** Whether a step may be queued before the one before it has been reported. */
  get mayLookAhead(): boolean {
    return this.#plan.isStatic;
  }

  step(step: number): QueuedStep {
    const ops = this.#ops;
    const { latents, conditioning, steps, wantsEstimate } = this.#run;
    const sigma = this.#schedule.sigmas[step]!;
    const timestep = this.#schedule.timesteps[step]!;
    const actions = this.#branches.map((_, index) => this.#plan.stepAction(step, index));
    const action: StepAction = actions.includes("run") ? "run" : "skip";
    conditioning.branches.forEach((branch, index) => {
      const { velocity, extrapolation } = this.#branches[index]!;
      const at = { step, sigma, branch: index };
      if (actions[index] === "skip") {
        extrapolation!.extrapolate(sigma, velocity);
        if (action === "run") this.#delta.skip(at);
        return;
      }
      branch.forward(latents, { sigma, timestep }, this.#delta.modules(at), velocity);
      this.#delta.observeVelocity(at, velocity);
      extrapolation?.record(velocity, sigma);
    });
    if (this.#branches.length > 1)
      conditioning.combine(
        this.#branches.map(({ velocity }) => velocity),
        this.#velocity,
      );
    const isWanted = step + 1 < steps && (wantsEstimate?.(step) ?? false);
    const estimate = isWanted ? ops.memory.temporary(latents.shape, "f32") : undefined;
    if (estimate) this.#sampler.estimate(step, latents, this.#velocity, estimate);
    this.#sampler.step(step, latents, this.#velocity);
    const hasRun = action !== "skip";
    return new QueuedStep(ops, this.#reader, {
      step,
      sigma,
      action,
      estimate,
      report: hasRun ? this.#delta.endStep() : undefined,
      norms: hasRun ? normsOf(ops, this.#velocity) : undefined,
    });
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

interface BranchState {
  readonly velocity: DeviceTensor;
  readonly extrapolation: VelocityExtrapolation | undefined;
}

/** What a step leaves on the device for the host to read, and what the host knows of it already. */
interface StepRecord {
  readonly step: number;
  readonly sigma: number;
  readonly action: StepAction;
  /** The finished latents expected at this step, where they are wanted. */
  readonly estimate: DeviceTensor | undefined;
  readonly report: StepReport | undefined;
  /** F32 [2], the first: the sum of the velocity's magnitudes; not of a skipped step. */
  readonly norms: DeviceTensor | undefined;
}

/** A step that the stream has been given. Holds what is read from it once it is reached. */
class QueuedStep implements Disposable {
  readonly #reader: Stream;
  readonly #record: StepRecord;
  readonly #end: Event;

  constructor(ops: Ops, reader: Stream, record: StepRecord) {
    this.#reader = reader;
    this.#record = record;
    this.#end = ops.stream.device.createEvent();
    this.#end.record(ops.stream);
  }

  get sigma(): number {
    return this.#record.sigma;
  }

  get action(): StepAction {
    return this.#record.action;
  }

  get estimate(): DeviceTensor | undefined {
    return this.#record.estimate;
  }

  /** @throws TamiasError `not_finite` */
  async finish(): Promise<DensityReport> {
    const { step, norms, report } = this.#record;
    await this.#end.reached();
    if (norms && !isFinite(this.#reader, norms))
      throw new TamiasError(
        "not_finite",
        `Step ${step + 1} gave values that are no numbers (NaN or infinity): nothing can be drawn from them.`,
        { hint: "Weights may be damaged, or too large for the device's number format: try `tamias verify`." },
      );
    return report?.read() ?? skippedReport;
  }

  [Symbol.dispose](): void {
    this.#end[Symbol.dispose]();
    this.#record.report?.[Symbol.dispose]();
    this.#record.norms?.[Symbol.dispose]();
    this.#record.estimate?.[Symbol.dispose]();
  }
}

const skippedReport: DensityReport = {
  density: 0,
  attentionDensity: 0,
  mlpDensity: 0,
  cells: [],
  lateMasks: 0,
};

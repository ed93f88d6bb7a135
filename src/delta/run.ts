import type { DeviceTensor, Stream } from "../../ffi/index.ts";
import type { Ops } from "../nn/index.ts";
import { layOutCaches } from "./cache-layout.ts";
import { CountSnapshot } from "./counts.ts";
import { CostModel, type Costs, defaultCosts } from "./cost-model.ts";
import { DeliveredDensities } from "./densities.ts";
import { Dispatch, type DispatchContext, type Position } from "./dispatch.ts";
import { InlineMaskWork, type MaskWork, OverlappedMaskWork } from "./mask-work.ts";
import type { Modules } from "./modules.ts";
import type { Placement } from "./cache-place.ts";
import type { Plan, RunShape } from "./policy.ts";
import { type QueuedCell, reportCell, reusedCell, type StepReport, summarise } from "./report.ts";
import { SignalMeter } from "./signal-meter.ts";
import { DeltaStore } from "./store.ts";
import { TextTokens } from "./text-tokens.ts";

export type { Position } from "./dispatch.ts";
export type { TransferReport } from "./host-caches.ts";
export type { CellReport, DensityReport, StepReport } from "./report.ts";

export interface DeltaRunOptions extends RunShape {
  /** Draws random columns; default 0. */
  readonly seed?: number | undefined;
  readonly recordColumns?: boolean | undefined;
  /** Ops of the mask stream, which then chooses masks and makes caches beside the first stream. */
  readonly maskOps?: Ops | undefined;
  /** Default: the backend's shipped ones. */
  readonly costs?: Costs | undefined;
  /** Where caches lie; default: all on the device. */
  readonly placement?: Placement | undefined;
}

/** All state of one denoising run: masks, caches and kept outputs by branch, layer and module. */
export class DeltaRun implements Disposable {
  readonly #recordColumns: boolean;
  readonly #work: MaskWork;
  readonly #store: DeltaStore;
  readonly #signals: SignalMeter;
  readonly #delivered = new DeliveredDensities();
  /** Reads what a step delivered while the next one runs. */
  readonly #reader: Stream;
  readonly #context: DispatchContext;
  readonly #owned: DisposableStack;
  #queued: QueuedCell[] = [];
  #step = 0;

  constructor(ops: Ops, plan: Plan, options: DeltaRunOptions) {
    const { seed = 0, recordColumns = false, maskOps, costs, placement } = options;
    const { device } = ops.stream;
    const costModel = new CostModel(costs ?? defaultCosts[device.backend]);
    // Goes through all of it, last first, whatever fails.
    using owned = new DisposableStack();
    this.#recordColumns = recordColumns;
    this.#reader = owned.use(device.createStream());
    const layouts = layOutCaches(plan, options, device.info(), costModel, placement);
    this.#work = maskOps ? new OverlappedMaskWork(ops, maskOps) : new InlineMaskWork(ops);
    this.#store = owned.use(new DeltaStore(ops, this.#work, layouts, placement));
    this.#signals = owned.use(new SignalMeter(ops, plan));
    owned.use(this.#work);
    this.#context = {
      ops,
      plan,
      shape: options,
      text: new TextTokens(options),
      seed,
      store: this.#store,
      costModel,
      delivered: this.#delivered,
      signals: this.#signals,
      note: (cell) => this.#queued.push(cell),
    };
    this.#owned = owned.move();
  }

  /** The modules of one branch at one step, for a network's forward pass. */
  modules(position: Position): Modules {
    this.#step = position.step;
    return new Dispatch(this.#context, position);
  }

  /** Notes that a branch's whole output was taken from earlier steps, so that the step's report counts it. */
  skip({ step, branch = 0 }: Pick<Position, "step" | "branch">): void {
    this.#step = step;
    const { modules, batch = 1 } = this.#context.shape;
    for (const module of modules)
      if (module.kind !== "block") this.#queued.push(reusedCell(branch, module, batch));
  }

  /** Tells a plan that observes it what velocity a branch has just given. */
  observeVelocity({ step, branch = 0 }: Position, velocity: DeviceTensor): void {
    this.#signals.measureNow("velocity", { step, branch }, velocity);
  }

  /** Closes a step: queues what its report needs. */
  endStep(): StepReport {
    const step = this.#step;
    const queued = this.#queued;
    this.#queued = [];
    const hasDelta = queued.some(({ action }) => action === "delta");
    const snapshot = hasDelta ? this.#store.counts.snapshot() : new CountSnapshot(undefined);
    const waits = this.#work.takeWaits();
    const transfers = this.#store.takeTransfers();
    return {
      read: () => {
        this.#signals.tell();
        const countsOf = snapshot.read(this.#reader);
        const cells = queued.map((cell) =>
          reportCell(cell, countsOf, {
            recordColumns: this.#recordColumns,
            deliver: (mask, density) => this.#delivered.note(mask, step, density),
          }),
        );
        return {
          ...summarise(queued, cells),
          cells,
          lateMasks: waits.countLate(),
          ...(transfers ? { transfers: transfers.read() } : {}),
        };
      },
      [Symbol.dispose]: () => {
        snapshot[Symbol.dispose]();
        waits[Symbol.dispose]();
        transfers?.[Symbol.dispose]();
      },
    };
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

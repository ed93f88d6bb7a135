import type { DeviceTensor } from "../../../ffi/index.ts";
import type { ModuleDescription } from "../../delta/cells.ts";
import type { Modules } from "../../delta/modules.ts";
import { FluxTransformer } from "../../models/flux/transformer.ts";
import type { Ops } from "../../nn/index.ts";
import type { RandomTensors } from "../random-tensors.ts";
import { randomParameters } from "./random-parameters.ts";
import type { FluxShaped } from "./shapes.ts";
import { type StepTimes, timeSteps } from "./step-times.ts";

const POOLED = 768;
const JOINT = 4096;

/** Times a whole network of FLUX's blocks, or one block of each kind times their number. */
export async function benchFluxShaped(
  ops: Ops,
  random: RandomTensors,
  shape: FluxShaped,
  maskOps?: Ops,
): Promise<StepTimes> {
  const { doubleBlocks, singleBlocks } = shape;
  if (shape.fits) return timeNetwork(ops, random, shape, doubleBlocks, singleBlocks, maskOps);
  const frame = await timeNetwork(ops, random, shape, 0, 0, maskOps);
  const double = await timeNetwork(ops, random, shape, 1, 0, maskOps);
  const single = await timeNetwork(ops, random, shape, 0, 1, maskOps);
  const total = (seconds: (times: StepTimes) => number): number =>
    seconds(frame) +
    doubleBlocks * (seconds(double) - seconds(frame)) +
    singleBlocks * (seconds(single) - seconds(frame));
  const sum = (kind: "dense" | "refresh" | "delta") => ({
    deviceSeconds: total((times) => times[kind].deviceSeconds),
    queueSeconds: total((times) => times[kind].queueSeconds),
    wallSeconds: total((times) => times[kind].wallSeconds),
  });
  const { density, attentionDensity, mlpDensity } = single.delta;
  return {
    bytesAllocated: Math.max(double.bytesAllocated, single.bytesAllocated),
    dense: sum("dense"),
    refresh: sum("refresh"),
    delta: { ...sum("delta"), density, attentionDensity, mlpDensity },
    ...(single.masks ? { masks: single.masks } : {}),
  };
}

async function timeNetwork(
  ops: Ops,
  random: RandomTensors,
  shape: FluxShaped,
  doubleBlocks: number,
  singleBlocks: number,
  maskOps: Ops | undefined,
): Promise<StepTimes> {
  using network = new FluxShapedNetwork(ops, random, shape, doubleBlocks, singleBlocks);
  return await timeSteps(ops, (modules) => network.evaluate(modules), {
    policy: shape.policy,
    modules: network.modules,
    text: { textTokens: shape.textTokens },
    maskOps,
  });
}

/** FLUX's blocks with random weights and inputs. */
export class FluxShapedNetwork implements Disposable {
  readonly modules: readonly ModuleDescription[];
  readonly tokens: number;
  readonly #transformer: FluxTransformer;
  readonly #input: Omit<Parameters<FluxTransformer["forward"]>[0], "modules">;
  readonly #out: DeviceTensor;
  readonly #owned: DisposableStack;

  constructor(
    ops: Ops,
    random: RandomTensors,
    { heads, headDim, textTokens, imageTokens, inChannels, title }: FluxShaped,
    doubleBlocks: number,
    singleBlocks: number,
  ) {
    const axis = headDim / 8;
    using owned = new DisposableStack();
    this.#transformer = owned.use(
      FluxTransformer.create(ops, {
        config: {
          _class_name: "FluxTransformer2DModel",
          in_channels: inChannels,
          num_layers: doubleBlocks,
          num_single_layers: singleBlocks,
          attention_head_dim: headDim,
          num_attention_heads: heads,
          joint_attention_dim: JOINT,
          pooled_projection_dim: POOLED,
          guidance_embeds: true,
          axes_dims_rope: [axis, (headDim - axis) / 2, (headDim - axis) / 2],
        },
        parameters: randomParameters(random),
        origin: title,
      }),
    );
    const positions = owned.use(
      this.#transformer.prepare({
        textIds: new Float32Array(textTokens * 3),
        imageIds: Float32Array.from({ length: imageTokens * 3 }, (_, at) => Math.floor(at / 3) % 97),
      }),
    );
    const input = (sizes: number[]) => random.normal(owned.use(ops.memory.persistent(sizes)));
    this.#input = {
      hidden: input([1, imageTokens, inChannels]),
      context: input([1, textTokens, JOINT]),
      pooled: input([1, POOLED]),
      positions,
      timestep: [0.5],
      guidance: [3.5],
    };
    this.#out = owned.use(ops.memory.persistent([1, imageTokens, this.#transformer.outChannels]));
    this.modules = this.#transformer.modules(positions);
    this.tokens = textTokens + imageTokens;
    this.#owned = owned.move();
  }

  /** Queues one evaluation. */
  evaluate(modules: Modules): void {
    this.#transformer.forward({ ...this.#input, modules }, this.#out);
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

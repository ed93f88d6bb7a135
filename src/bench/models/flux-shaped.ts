import type { Ops } from "../../nn/index.ts";
import { FluxTransformer } from "../../models/flux/transformer.ts";
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
  if (shape.whole) return timeNetwork(ops, random, shape, doubleBlocks, singleBlocks, maskOps);
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
  const { heads, headDim, textTokens, imageTokens, inChannels } = shape;
  const axis = headDim / 8;
  using scratch = new DisposableStack();
  const transformer = scratch.use(
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
      origin: shape.title,
    }),
  );
  const positions = scratch.use(
    transformer.prepare({
      textIds: new Float32Array(textTokens * 3),
      imageIds: Float32Array.from({ length: imageTokens * 3 }, (_, at) => Math.floor(at / 3) % 97),
    }),
  );
  const input = (sizes: number[]) => random.normal(scratch.use(ops.memory.persistent(sizes)));
  const hidden = input([1, imageTokens, inChannels]);
  const context = input([1, textTokens, JOINT]);
  const pooled = input([1, POOLED]);
  const out = scratch.use(ops.memory.persistent([1, imageTokens, transformer.outChannels]));
  return await timeSteps(
    ops,
    (modules) =>
      transformer.forward(
        { hidden, context, pooled, positions, timestep: [0.5], guidance: [3.5], modules },
        out,
      ),
    { policy: shape.policy, modules: transformer.modules(positions), text: { textTokens }, maskOps },
  );
}

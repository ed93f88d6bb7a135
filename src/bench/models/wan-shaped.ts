import type { DeviceTensor } from "../../../ffi/index.ts";
import type { ModuleDescription } from "../../delta/cells.ts";
import { type Linear, Mlp, type Ops, Parameters } from "../../nn/index.ts";
import type { RandomTensors } from "../random-tensors.ts";
import { randomParameters } from "./random-parameters.ts";
import type { WanShaped } from "./shapes.ts";
import { type StepTime, type StepTimes, timeSteps } from "./step-times.ts";

const EPSILON = 1e-6;

/**
 * Times one of Wan's transformer blocks at full shape, times their number: modulated self-attention with queries and
 * keys normalised over all heads and rotated, cross-attention to the text, modulated MLP (Wan 2.1, arXiv 2503.20314).
 */
export async function benchWanShaped(
  ops: Ops,
  random: RandomTensors,
  shape: WanShaped,
  maskOps?: Ops,
): Promise<StepTimes> {
  const { heads, headDim, hidden, videoTokens: tokens, textTokens, blocks } = shape;
  const width = heads * headDim;
  const scale = headDim ** -0.5;
  using scratch = new DisposableStack();
  const parameters = scratch.use(new Parameters(ops, randomParameters(random)));
  const tensor = (sizes: number[], dtype = ops.activationType) =>
    random.normal(scratch.use(ops.memory.persistent(sizes, dtype)));
  const square = (): Linear => parameters.linear("", width, width);
  const [q, k, v, out] = [square(), square(), square(), square()];
  const [crossQ, crossK, crossV, crossOut] = [square(), square(), square(), square()];
  const norm = parameters.tensor("", [width]);
  const fc1 = parameters.linear("", width, hidden);
  const [weight] = parameters.weightColumns("", width, [{ columns: hidden, isTransposed: true }]);
  const mlp = new Mlp(parameters, fc1, { weight: weight!, bias: parameters.tensor("", [width]) }, "geluTanh");
  const states = tensor([1, tokens, width]);
  const text = tensor([1, textTokens, width]);
  const modulation = tensor([1, 6 * width]);
  const part = (at: number) => modulation.slice(1, at * width, (at + 1) * width);
  const rope = { cos: tensor([tokens, headDim / 2], "f32"), sin: tensor([tokens, headDim / 2], "f32") };
  const byHead = (x: DeviceTensor) => x.reshape(1, x.shape[1] ?? 0, heads, headDim).permute(0, 2, 1, 3);

  const times = await timeSteps(
    ops,
    (modules) => {
      using normed = ops.memory.temporary(states.shape);
      using change = ops.memory.temporary(states.shape);
      using attended = ops.memory.temporary(states.shape);
      ops.layerNorm(states, normed, EPSILON, { shift: part(0), scale: part(1) });
      {
        using queries = ops.memory.temporary(states.shape);
        using keys = ops.memory.temporary(states.shape);
        using values = ops.memory.temporary(states.shape);
        const project = () => {
          ops.linear(normed, v, values);
          for (const [layer, rows] of [
            [q, queries],
            [k, keys],
          ] as const) {
            ops.linear(normed, layer, rows);
            ops.rmsNorm(rows, norm, EPSILON, rows);
            ops.normRope(byHead(rows), byHead(rows), { rope });
          }
          return { q: byHead(queries), k: byHead(keys), v: byHead(values) };
        };
        modules.attention(0, project, scale, byHead(attended));
        ops.linear(attended, out, change);
        ops.gateResidual(states, part(2), change);

        ops.layerNorm(states, normed, EPSILON);
        using textKeys = ops.memory.temporary(text.shape);
        using textValues = ops.memory.temporary(text.shape);
        // What a module was given is not overwritten: the mask stream may still read it.
        using textQueries = ops.memory.temporary(states.shape);
        ops.linear(normed, crossQ, textQueries);
        ops.rmsNorm(textQueries, norm, EPSILON, textQueries);
        ops.linear(text, crossK, textKeys);
        ops.rmsNorm(textKeys, norm, EPSILON, textKeys);
        ops.linear(text, crossV, textValues);
        const cross = { q: byHead(textQueries), k: byHead(textKeys), v: byHead(textValues) };
        using crossAttended = ops.memory.temporary(states.shape);
        modules.crossAttention(0, () => cross, scale, byHead(crossAttended));
        ops.linearAdd(crossAttended, crossOut, states);
      }
      ops.layerNorm(states, normed, EPSILON, { shift: part(3), scale: part(4) });
      modules.mlp(0, normed, mlp, change);
      ops.gateResidual(states, part(5), change);
    },
    { policy: shape.policy, modules: describe(shape), text: { textTokens, textPosition: "apart" }, maskOps },
  );
  const all = ({ deviceSeconds, queueSeconds, wallSeconds }: StepTime): StepTime => ({
    deviceSeconds: blocks * deviceSeconds,
    queueSeconds: blocks * queueSeconds,
    wallSeconds: blocks * wallSeconds,
  });
  return {
    bytesAllocated: times.bytesAllocated,
    dense: all(times.dense),
    refresh: all(times.refresh),
    delta: { ...times.delta, ...all(times.delta) },
    ...(times.masks ? { masks: times.masks } : {}),
  };
}

/** The modules of the one block. */
function describe({ heads, headDim, hidden, videoTokens, textTokens }: WanShaped): ModuleDescription[] {
  const width = heads * headDim;
  const attention = { layer: 0, heads, queries: videoTokens, headDim };
  return [
    { ...attention, id: "attention", kind: "attention", keys: videoTokens },
    { ...attention, id: "cross", kind: "cross", keys: textTokens },
    { layer: 0, id: "mlp", kind: "mlp", tokens: videoTokens, width, hidden, outputs: width },
  ];
}

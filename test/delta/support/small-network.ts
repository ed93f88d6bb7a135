import type { DeviceTensor } from "../../../ffi/index.ts";
import { denseModules, type Modules } from "../../../src/delta/modules.ts";
import type { ModuleDescription } from "../../../src/delta/cells.ts";
import { type Linear, Mlp, type Ops, Parameters } from "../../../src/nn/index.ts";
import { gaussianNoise } from "../../../src/samplers/noise.ts";

export const HEADS = 2;
export const HEAD_DIM = 64;
export const WIDTH = HEADS * HEAD_DIM;
export const HIDDEN = 256;
const CROSS_KEYS = 24;

/** A transformer of equal blocks (self-attention, cross-attention, MLP, each added to the states) with random weights. */
export class SmallNetwork implements Disposable {
  readonly ops: Ops;
  readonly tokens: number;
  readonly layers: number;
  readonly #parameters: Parameters;
  readonly #blocks: readonly Block[];
  readonly #text: DeviceTensor;
  /** Layers of the blocks that ran, in order. */
  readonly ran: number[] = [];

  constructor(ops: Ops, { layers = 2, tokens = 256 }: { layers?: number; tokens?: number } = {}) {
    this.ops = ops;
    this.layers = layers;
    this.tokens = tokens;
    let seed = 1;
    this.#parameters = new Parameters(ops, {
      has: () => true,
      fill(_ops, _name, out) {
        const scale = out.shape.length < 2 ? 0.1 : (out.shape.at(-1) ?? 1) ** -0.5;
        ops.stream.write(
          out,
          gaussianNoise(out.elements, seed++).map((value) => value * scale),
        );
      },
    });
    const linear = (inputs: number, outputs: number) => this.#parameters.linear("", inputs, outputs);
    this.#blocks = Array.from({ length: layers }, () => ({
      qkv: [linear(WIDTH, WIDTH), linear(WIDTH, WIDTH), linear(WIDTH, WIDTH)],
      crossQ: linear(WIDTH, WIDTH),
      mlp: this.#mlp(linear(WIDTH, HIDDEN)),
    }));
    this.#text = this.#parameters.tensor("", [1, CROSS_KEYS, WIDTH]);
  }

  get parameterBytes(): number {
    return this.#parameters.bytes;
  }

  get modules(): ModuleDescription[] {
    const { tokens } = this;
    return Array.from({ length: this.layers }, (_, layer): ModuleDescription[] => [
      { layer, id: "block", kind: "block", tokens, width: WIDTH },
      {
        layer,
        id: "attention",
        kind: "attention",
        heads: HEADS,
        queries: tokens,
        keys: tokens,
        headDim: HEAD_DIM,
      },
      {
        layer,
        id: "cross",
        kind: "cross",
        heads: HEADS,
        queries: tokens,
        keys: CROSS_KEYS,
        headDim: HEAD_DIM,
      },
      { layer, id: "mlp", kind: "mlp", tokens, width: WIDTH, hidden: HIDDEN, outputs: WIDTH },
    ]).flat();
  }

  /** States after all blocks, [tokens * WIDTH]. */
  forward(input: Float32Array, modules: Modules = denseModules(this.ops)): Float32Array {
    const { ops } = this;
    using states = ops.memory.temporary([1, this.tokens, WIDTH]);
    ops.stream.write(states, input);
    modules.blocks(
      states,
      this.#blocks.map((block, layer) => () => {
        this.ran.push(layer);
        this.#run(block, layer, states, modules);
      }),
      {
        modulatedInput: () => {
          const normed = ops.memory.temporary(states.shape);
          ops.layerNorm(states, normed, 1e-6);
          return normed;
        },
      },
    );
    return ops.stream.read(states, new Float32Array(states.elements));
  }

  [Symbol.dispose](): void {
    this.#parameters[Symbol.dispose]();
  }

  #mlp(fc1: Linear): Mlp {
    const part = { columns: HIDDEN, isTransposed: true };
    const [weight] = this.#parameters.weightColumns("", WIDTH, [part]);
    const bias = this.#parameters.tensor("", [WIDTH]);
    return new Mlp(this.#parameters, fc1, { weight: weight!, bias }, "geluTanh");
  }

  #run({ qkv, crossQ, mlp }: Block, layer: number, states: DeviceTensor, modules: Modules): void {
    const { ops } = this;
    const scale = HEAD_DIM ** -0.5;
    using normed = ops.memory.temporary(states.shape);
    ops.layerNorm(states, normed, 1e-6);
    modules.prepareMlp(layer, normed, mlp);
    using projected = ops.memory.temporary([3, ...states.shape]);
    using attended = ops.memory.temporary(states.shape);
    modules.attention(
      layer,
      () => {
        const [q, k, v] = qkv.map((weights, at) => {
          const rows = projected.select(0, at);
          ops.linear(normed, weights, rows);
          return byHead(rows);
        });
        return { q: q!, k: k!, v: v! };
      },
      scale,
      byHead(attended),
    );
    using queries = ops.memory.temporary(states.shape);
    using crossed = ops.memory.temporary(states.shape);
    modules.crossAttention(
      layer,
      () => {
        ops.linear(normed, crossQ, queries);
        return { q: byHead(queries), k: byHead(this.#text), v: byHead(this.#text) };
      },
      scale,
      byHead(crossed),
    );
    using change = ops.memory.temporary(states.shape);
    modules.mlp(layer, normed, mlp, change);
    for (const part of [attended, crossed, change]) ops.combine(1, states, 1, part, states);
  }
}

interface Block {
  readonly qkv: readonly Linear[];
  readonly crossQ: Linear;
  readonly mlp: Mlp;
}

function byHead(rows: DeviceTensor): DeviceTensor {
  return rows.reshape(1, rows.shape[1] ?? 0, HEADS, HEAD_DIM).permute(0, 2, 1, 3);
}

/** Inputs of consecutive steps: noise that drifts. */
export function inputsOf(
  network: SmallNetwork,
  steps: number,
  { seed = 100, drift = 0.1 } = {},
): Float32Array[] {
  const start = gaussianNoise(network.tokens * WIDTH, seed);
  const direction = gaussianNoise(network.tokens * WIDTH, seed + 1);
  return Array.from({ length: steps }, (_, step) =>
    start.map((value, at) => value + step * drift * direction[at]!),
  );
}

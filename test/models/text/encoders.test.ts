import { expect, test } from "bun:test";
import { join } from "node:path";
import { ClipTextModel } from "../../../src/models/text/clip.ts";
import { T5Encoder } from "../../../src/models/text/t5.ts";
import { hostValues, type Ops } from "../../../src/nn/index.ts";
import { Checkpoint } from "../../../src/weights/checkpoint.ts";
import { openCheckpoint } from "../../../src/weights/diffusers-folder.ts";
import { readTensorFloat32 } from "../../../src/weights/read-tensor.ts";
import { download, relativeError, tinyFlux, withOps } from "../with-ops.ts";

const clip = await openCheckpoint(join(tinyFlux, "text_encoder"));
const t5 = await openCheckpoint(join(tinyFlux, "text_encoder_2"));
const prompt = Int32Array.of(0, 17, 400, 999, 5, 2, 1, 1);
const other = Int32Array.of(0, 300, 8, 2, 1, 1, 1, 1);

/** The same weights under other names or with other settings. */
function altered(
  checkpoint: Checkpoint,
  settings: Record<string, unknown>,
  rename = (name: string) => name,
): Checkpoint {
  const tensors = new Map(checkpoint.names().map((name) => [rename(name), checkpoint.get(name)]));
  return new Checkpoint(checkpoint.folder, { ...checkpoint.config, ...settings }, tensors);
}

function clipStates(ops: Ops, checkpoint: Checkpoint, sequences: Int32Array[]) {
  using model = ClipTextModel.load(ops, checkpoint);
  const states = model.encode(sequences);
  using lastHiddenState = states.lastHiddenState;
  using pooled = states.pooled;
  return { hidden: download(ops, lastHiddenState), pooled: download(ops, pooled) };
}

function t5States(ops: Ops, checkpoint: Checkpoint, sequences: Int32Array[]): Float32Array {
  using model = T5Encoder.load(ops, checkpoint);
  using states = model.encode(sequences);
  return download(ops, states);
}

test("CLIP's tensors may be prefixed with text_model", () =>
  withOps((ops) => {
    const prefixed = altered(clip, {}, (name) => `text_model.${name}`);
    expect(clipStates(ops, prefixed, [prompt])).toEqual(clipStates(ops, clip, [prompt]));
  }));

test.each([
  ["the highest id, with the end token of old configurations", 2, 3],
  ["the first end token", 1, 6],
  ["the first token, without any end token", 77, 0],
])("CLIP pools the state of %s", (_, eos_token_id, position) =>
  withOps((ops) => {
    const { hidden, pooled } = clipStates(ops, altered(clip, { eos_token_id }), [prompt]);
    expect(pooled).toEqual(hidden.slice(position * pooled.length, (position + 1) * pooled.length));
  }),
);

test("CLIP is causal: later tokens change no earlier state", () =>
  withOps((ops) => {
    const all = clipStates(ops, clip, [prompt]).hidden;
    const start = clipStates(ops, clip, [prompt.slice(0, 3)]).hidden;
    expect(relativeError(all.slice(0, start.length), start)).toBeLessThan(1e-5);
  }));

test("prompts of a batch do not see each other", () =>
  withOps((ops) => {
    const both = clipStates(ops, clip, [prompt, other]).pooled;
    const second = clipStates(ops, clip, [other]).pooled;
    expect(relativeError(both.slice(second.length), second)).toBeLessThan(1e-5);
    const bothT5 = t5States(ops, t5, [prompt, other]);
    const secondT5 = t5States(ops, t5, [other]);
    expect(relativeError(bothT5.slice(secondT5.length), secondT5)).toBeLessThan(1e-5);
  }));

test("T5's embedding may be called encoder.embed_tokens", () =>
  withOps((ops) => {
    const renamed = altered(t5, {}, (name) => name.replace("shared", "encoder.embed_tokens"));
    expect(t5States(ops, renamed, [prompt])).toEqual(t5States(ops, t5, [prompt]));
  }));

test.each([1, 2, 9, 300])("T5 takes %d tokens", (tokens) =>
  withOps((ops) => {
    const ids = Int32Array.from({ length: tokens }, (_, at) => (at * 37) % 1000);
    const states = t5States(ops, t5, [ids]);
    expect(states.length).toBe(tokens * 48);
    expect(states.every(Number.isFinite)).toBe(true);
  }),
);

test("T5's logits get what belongs to the bucket of their distance, and little is uploaded for it", () =>
  withOps(async (ops) => {
    const tokens = 300;
    const { heads, table } = await t5Table();
    using model = T5Encoder.load(ops, t5);
    let biases: { shape: readonly number[]; values: Float32Array } | undefined;
    const attention = ops.attention.bind(ops);
    ops.attention = (qkv, out, options) => {
      biases ??= { shape: options.bias!.shape, values: hostValues(ops, options.bias!) };
      attention(qkv, out, options);
    };
    let uploaded = 0;
    const write = ops.stream.write.bind(ops.stream);
    ops.stream.write = (tensor, values) => {
      uploaded += values.byteLength;
      write(tensor, values);
    };
    model.encode([new Int32Array(tokens).fill(5)])[Symbol.dispose]();
    const { shape, values } = biases!;
    expect(shape).toEqual([heads, tokens, tokens]);
    const isRight = values.every((value, at) => {
      const [head, query, key] = [
        Math.floor(at / tokens ** 2),
        Math.floor(at / tokens) % tokens,
        at % tokens,
      ];
      return value === table[t5Bucket(key - query) * heads + head];
    });
    expect(isRight).toBe(true);
    expect(uploaded).toBeLessThan(20 * tokens);
  }));

async function t5Table(): Promise<{ heads: number; table: Float32Array }> {
  const entry = t5.get("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
  return { heads: entry.shape[1]!, table: await readTensorFloat32(entry) };
}

/** 32 buckets up to a distance of 128: one each for 0 to 7 behind or ahead, then 8 by the logarithm. */
function t5Bucket(distance: number): number {
  const ahead = distance > 0 ? 16 : 0;
  const steps = Math.abs(distance);
  const borders = [8, 12, 16, 23, 32, 46, 64, 91];
  return ahead + (steps < 8 ? steps : 7 + borders.filter((border) => steps >= border).length);
}

test.each<[string, Int32Array[], string]>([
  ["no sequence", [], "one length"],
  ["an empty sequence", [new Int32Array(0)], "one length"],
  ["sequences of two lengths", [prompt, prompt.slice(1)], "one length"],
  ["an id beyond the vocabulary", [Int32Array.of(1000)], "Token id 1000"],
  ["a negative id", [Int32Array.of(-1)], "Token id -1"],
])("text encoders refuse %s", (_, sequences, sentence) =>
  withOps((ops) => {
    using clipModel = ClipTextModel.load(ops, clip);
    using t5Model = T5Encoder.load(ops, t5);
    expect(() => clipModel.encode(sequences)).toThrow(sentence);
    expect(() => t5Model.encode(sequences)).toThrow(sentence);
  }),
);

test("CLIP refuses more tokens than it has positions", () =>
  withOps((ops) => {
    using model = ClipTextModel.load(ops, clip);
    expect(() => model.encode([new Int32Array(78)])).toThrow("at most 77 tokens");
  }));

test.each<[Record<string, unknown>, string]>([
  [{ hidden_act: "relu" }, "hidden_act"],
  [{ num_attention_heads: 5 }, "num_attention_heads"],
  [{ vocab_size: 999 }, "embeddings.token_embedding.weight"],
])("a CLIP configuration with %p is refused by name", (settings, name) =>
  withOps((ops) => {
    expect(() => ClipTextModel.load(ops, altered(clip, settings))).toThrow(name);
  }),
);

test.each<[Record<string, unknown>, string]>([
  [{ feed_forward_proj: "relu" }, "feed_forward_proj"],
  [{ num_heads: 3 }, "relative_attention_bias"],
  [{ num_layers: 3 }, "encoder.block.2"],
])("a T5 configuration with %p is refused by name", (settings, name) =>
  withOps((ops) => {
    expect(() => T5Encoder.load(ops, altered(t5, settings))).toThrow(name);
  }),
);

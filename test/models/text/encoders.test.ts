import { expect, test } from "bun:test";
import { join } from "node:path";
import { ClipTextModel } from "../../../src/models/text/clip.ts";
import { T5Encoder } from "../../../src/models/text/t5.ts";
import type { Ops } from "../../../src/nn/index.ts";
import { Checkpoint } from "../../../src/weights/checkpoint.ts";
import { openCheckpoint } from "../../../src/weights/diffusers-folder.ts";
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

async function t5States(ops: Ops, checkpoint: Checkpoint, sequences: Int32Array[]): Promise<Float32Array> {
  using model = await T5Encoder.load(ops, checkpoint);
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
  withOps(async (ops) => {
    const both = clipStates(ops, clip, [prompt, other]).pooled;
    const second = clipStates(ops, clip, [other]).pooled;
    expect(relativeError(both.slice(second.length), second)).toBeLessThan(1e-5);
    const bothT5 = await t5States(ops, t5, [prompt, other]);
    const secondT5 = await t5States(ops, t5, [other]);
    expect(relativeError(bothT5.slice(secondT5.length), secondT5)).toBeLessThan(1e-5);
  }));

test("T5's embedding may be called encoder.embed_tokens", () =>
  withOps(async (ops) => {
    const renamed = altered(t5, {}, (name) => name.replace("shared", "encoder.embed_tokens"));
    expect(await t5States(ops, renamed, [prompt])).toEqual(await t5States(ops, t5, [prompt]));
  }));

test.each([1, 2, 9, 300])("T5 takes %d tokens", (tokens) =>
  withOps(async (ops) => {
    const ids = Int32Array.from({ length: tokens }, (_, at) => (at * 37) % 1000);
    const states = await t5States(ops, t5, [ids]);
    expect(states.length).toBe(tokens * 48);
    expect(states.every(Number.isFinite)).toBe(true);
  }),
);

test.each<[string, Int32Array[], string]>([
  ["no sequence", [], "one length"],
  ["an empty sequence", [new Int32Array(0)], "one length"],
  ["sequences of two lengths", [prompt, prompt.slice(1)], "one length"],
  ["an id beyond the vocabulary", [Int32Array.of(1000)], "Token id 1000"],
  ["a negative id", [Int32Array.of(-1)], "Token id -1"],
])("text encoders refuse %s", (_, sequences, sentence) =>
  withOps(async (ops) => {
    using clipModel = ClipTextModel.load(ops, clip);
    using t5Model = await T5Encoder.load(ops, t5);
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
  withOps(async (ops) => {
    await expect(T5Encoder.load(ops, altered(t5, settings))).rejects.toThrow(name);
  }),
);

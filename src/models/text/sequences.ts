import { type DeviceTensor, TamiasError } from "../../../ffi/index.ts";
import type { Ops } from "../../nn/index.ts";

/**
 * Checks a batch of token ids for a text encoder.
 * @param limits `most` tokens in a sequence; ids must be below `vocabulary`
 * @returns the tokens of each sequence
 * @throws TamiasError `bad_input` when they are empty, differ in length, are too long, or hold an unknown id
 */
export function checkSequences(
  sequences: readonly Int32Array[],
  { most = Number.POSITIVE_INFINITY, vocabulary }: { most?: number; vocabulary: number },
): number {
  const tokens = sequences[0]?.length ?? 0;
  if (tokens === 0 || sequences.some(({ length }) => length !== tokens))
    throw new TamiasError(
      "bad_input",
      `A text encoder takes sequences of one length, got [${sequences.map(({ length }) => length).join(", ")}] tokens.`,
    );
  if (tokens > most)
    throw new TamiasError("bad_input", `This text encoder takes at most ${most} tokens, got ${tokens}.`);
  for (const sequence of sequences) {
    const unknown = sequence.find((id) => id < 0 || id >= vocabulary);
    if (unknown !== undefined)
      throw new TamiasError(
        "bad_input",
        `Token id ${unknown} is outside this text encoder's vocabulary of ${vocabulary}; does the tokenizer belong to it?`,
      );
  }
  return tokens;
}

/**
 * Looks token ids up in an embedding table.
 * @param table [vocabulary, width]
 * @param out [batch, tokens, width]
 */
export function embed(
  ops: Ops,
  table: DeviceTensor,
  sequences: readonly Int32Array[],
  out: DeviceTensor,
): void {
  const [batch = 0, tokens = 0, width = 0] = out.shape;
  const ids = new Int32Array(batch * tokens);
  sequences.forEach((sequence, item) => ids.set(sequence, item * tokens));
  using indices = uploadIndices(ops, ids);
  ops.gatherRows(table, indices, out.reshape(ids.length, width));
}

/** Indices for `gatherRows`, a temporary. */
export function uploadIndices(ops: Ops, indices: Int32Array): DeviceTensor {
  const tensor = ops.memory.temporary([indices.length], "i32");
  ops.stream.write(tensor, indices);
  return tensor;
}

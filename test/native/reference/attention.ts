import { Values } from "../support.ts";

export interface QueryKeyValue {
  /** [batch, heads, queries, headDim] */
  readonly q: Values;
  /** [batch, heads, keys, headDim] */
  readonly k: Values;
  readonly v: Values;
}

export interface AttentionOptions {
  readonly scale: number;
  /** [heads, queries, keys], added to the scaled logits. */
  readonly bias?: Values | undefined;
  /** A query sees the keys up to its own position. */
  readonly causal?: boolean;
  /** The keys a query may see; absent: all. */
  readonly chosen?: (batch: number, head: number, query: number) => readonly number[];
}

/** A softmax over some keys: its weighted mean of values, and the log of its denominator. */
export interface PartialSoftmax {
  /** [batch, heads, queries, headDim] */
  readonly out: Values;
  /** [batch, heads, queries] */
  readonly lse: Values;
}

/** Softmax attention over the keys each query may see. No keys: out = 0, lse = -infinity. */
export function attention({ q, k, v }: QueryKeyValue, options: AttentionOptions): PartialSoftmax {
  const out = new Values(q.shape);
  const lse = new Values(q.shape.slice(0, 3));
  for (let batch = 0; batch < q.size(0); batch++)
    for (let head = 0; head < q.size(1); head++)
      for (let query = 0; query < q.size(2); query++) {
        const keys = visibleKeys(k.size(2), options, batch, head, query);
        const scores = keys.map((key) => logit({ q, k, v }, options, batch, head, query, key));
        const denominator = logSumExp(scores);
        lse.set(denominator, batch, head, query);
        const into = out.row(batch, head, query);
        keys.forEach((key, at) => {
          const probability = Math.exp((scores[at] ?? NaN) - denominator);
          v.row(batch, head, key).forEach((value, i) => (into[i] = (into[i] ?? 0) + probability * value));
        });
      }
  return { out, lse };
}

/** Sums of exp(logit - lse) over each group's queries: [batch, heads, groups, keys]. */
export function columnSums(input: QueryKeyValue, scale: number, group: number, lse: Values): Values {
  const { q, k } = input;
  const groups = Math.ceil(q.size(2) / group);
  const sums = new Values([q.size(0), q.size(1), groups, k.size(2)]);
  for (let batch = 0; batch < q.size(0); batch++)
    for (let head = 0; head < q.size(1); head++)
      for (let query = 0; query < q.size(2); query++) {
        const into = sums.row(batch, head, Math.floor(query / group));
        for (let key = 0; key < into.length; key++) {
          const score = logit(input, { scale }, batch, head, query, key);
          into[key] = (into[key] ?? 0) + Math.exp(score - lse.at(batch, head, query));
        }
      }
  return sums;
}

function visibleKeys(
  keys: number,
  { causal, chosen }: AttentionOptions,
  batch: number,
  head: number,
  query: number,
): readonly number[] {
  if (chosen) return chosen(batch, head, query);
  return Array.from({ length: causal ? Math.min(keys, query + 1) : keys }, (_, key) => key);
}

function logit(
  { q, k }: QueryKeyValue,
  { scale, bias }: AttentionOptions,
  batch: number,
  head: number,
  query: number,
  key: number,
): number {
  const left = q.row(batch, head, query);
  const right = k.row(batch, head, key);
  let dot = 0;
  for (let i = 0; i < left.length; i++) dot += (left[i] ?? NaN) * (right[i] ?? NaN);
  return dot * scale + (bias?.at(head, query, key) ?? 0);
}

function logSumExp(scores: readonly number[]): number {
  const largest = scores.reduce((most, score) => Math.max(most, score), -Infinity);
  if (largest === -Infinity) return -Infinity;
  return largest + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - largest), 0));
}

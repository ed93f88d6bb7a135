import { Device } from "../../../ffi/index.ts";
import { Bench, testBackend, Values } from "../support.ts";
import type { Operand, Random } from "../support.ts";
import { packedMaskBytes } from "../../../src/nn/ops.ts";
import type { AbuseReport } from "./wrong-calls.ts";

/** Runs what reads masks on lists and counts that no selection would write. Operands find writes beside them. */
export async function abuseMasks(
  random: Random,
  rounds: number,
  log: (line: string) => void,
): Promise<AbuseReport> {
  using device = await Device.open({ backend: testBackend(), threads: 2 });
  const complaints: string[] = [];
  let calls = 0;
  for (let round = 0; round < rounds; round++) {
    using bench = new Bench(device, random);
    const columns = random.integer(1, 40);
    const capacity = random.pick([1, columns, random.integer(1, 50)]);
    for (const run of [attention, update, mlp, pack, unpack]) {
      log(`round ${round}, ${run.name}, ${columns} columns, capacity ${capacity}`);
      calls++;
      try {
        const operands = run(bench, columns, capacity);
        // A mask found out while the work runs is the stream's failure; waiting takes it away.
        tried(() => bench.stream.synchronize());
        for (const operand of operands) operand.read();
      } catch (error) {
        complaints.push(`${run.name}: ${(error as Error).message}`);
      }
    }
  }
  return { calls, complaints };
}

function garbageMask(bench: Bench, lists: number, groups: number, columns: number, capacity: number) {
  const { random } = bench;
  const wild = [
    -1,
    -2,
    columns,
    columns + 1,
    capacity,
    capacity + 1,
    2 ** 31 - 1,
    -(2 ** 31),
    65_535,
    1 << 20,
  ];
  const dtype = random.pick(["i32", "u16"] as const);
  const index = () => (random.chance(0.5) ? random.integer(0, columns - 1) : random.pick(wild));
  const count = () => (random.chance(0.3) ? random.integer(0, capacity) : random.pick(wild));
  return [
    bench.input(new Values([1, lists, groups, capacity]).map(index), { dtype }),
    bench.input(new Values([1, lists, groups]).map(count), { dtype: "i32" }),
  ] as const;
}

/** A refusal is as good as an answer. */
function tried(call: () => void): void {
  try {
    call();
  } catch {
    // The library has found the mask out.
  }
}

function attention(bench: Bench, keys: number, capacity: number): Operand[] {
  const queries = bench.random.integer(1, 30);
  const group = bench.group();
  const [indices, counts] = garbageMask(bench, 2, Math.ceil(queries / group), keys, capacity);
  const [q, k, v] = [queries, keys, keys].map((tokens) => bench.normal([1, 2, tokens, 8]).tensor);
  const [out, lse] = [bench.output([1, 2, queries, 8]), bench.output([1, 2, queries])];
  if (q && k && v)
    tried(() =>
      bench.call(
        "tamias_attention_columns",
        q,
        k,
        v,
        0.3,
        group,
        indices.tensor,
        counts.tensor,
        0,
        1,
        null,
        null,
        out.tensor,
        lse.tensor,
      ),
    );
  return [out, lse, indices, counts];
}

function update(bench: Bench, columns: number, capacity: number): Operand[] {
  const groups = bench.random.integer(1, 5);
  const [indices, counts] = garbageMask(bench, 1, groups, columns, capacity);
  const [now, cached] = [bench.normal([1, groups, columns]), bench.normal([1, groups, columns])];
  tried(() => bench.call("tamias_update_chosen", now.tensor, indices.tensor, counts.tensor, cached.tensor));
  return [now, cached, indices, counts];
}

function pack(bench: Bench, columns: number, capacity: number): Operand[] {
  const groups = bench.random.integer(1, 9);
  const [indices, counts] = garbageMask(bench, 2, groups, columns, capacity);
  const packed = bench.output([1, 2, groups, packedMaskBytes(capacity, columns)], { dtype: "u8" });
  tried(() => bench.call("tamias_mask_pack", indices.tensor, counts.tensor, columns, packed.tensor));
  return [indices, counts, packed];
}

function unpack(bench: Bench, columns: number, capacity: number): Operand[] {
  const groups = bench.random.integer(1, 9);
  const [indices, counts] = garbageMask(bench, 2, groups, columns, capacity);
  const packed = bench.uniform([1, 2, groups, bench.random.integer(1, 50)], 0, 255, { dtype: "u8" });
  tried(() => bench.call("tamias_mask_unpack", packed.tensor, counts.tensor, indices.tensor));
  return [indices, counts, packed];
}

function mlp(bench: Bench, hidden: number, capacity: number): Operand[] {
  const group = bench.group();
  const tokens = bench.random.integer(1, 50);
  const groups = Math.ceil(tokens / group);
  const [indices, counts] = garbageMask(bench, 1, groups, hidden, capacity);
  const [x, w1, w2t] = [bench.normal([1, tokens, 5]), bench.weight([hidden, 5]), bench.weight([hidden, 6])];
  const [activations, delta] = [
    bench.normal([1, groups, hidden, group]),
    bench.output([1, groups, capacity, group]),
  ];
  const out = bench.normal([1, tokens, 6]);
  tried(() =>
    bench.call(
      "tamias_mlp_delta_fc1",
      x.tensor,
      w1.tensor,
      null,
      2,
      indices.tensor,
      counts.tensor,
      activations.tensor,
      delta.tensor,
    ),
  );
  tried(() =>
    bench.call("tamias_mlp_delta_fc2", delta.tensor, indices.tensor, counts.tensor, w2t.tensor, out.tensor),
  );
  return [activations, delta, out, indices, counts];
}

import type { ArgumentType } from "../../../ffi/symbols.ts";
import type { Random } from "../support.ts";
import { Descriptor } from "./descriptor.ts";
import type { RawArgument } from "./raw-library.ts";
import type { World } from "./world.ts";

/** What mutations need to know of the world. */
export type Surroundings = Pick<World, "deadHandles" | "foreignAddresses" | "isGuarded">;

/** A changed argument, and what was changed. */
export interface Mutation {
  readonly value: RawArgument;
  readonly what: string;
}

/** An argument of a valid call. */
export interface Original {
  readonly value: RawArgument;
  readonly type: ArgumentType;
  /** Values that the call must refuse, where it is a plain number or text. */
  readonly wrong: readonly RawArgument[];
}

/** A value that must be refused in place of `original`; undefined where any value is a right one. */
export function wrongArgument(original: Original, world: Surroundings, random: Random): Mutation | undefined {
  const { value, type, wrong } = original;
  if (value instanceof Descriptor) return random.pick(brokenTensors)(value, type, world, random);
  if (type === "bytes" && (wrong.length === 0 || random.chance(0.2))) return { value: null, what: "NULL" };
  if (wrong.length > 0) {
    const chosen = random.pick(wrong);
    return {
      value: chosen,
      what: chosen instanceof Uint8Array ? new TextDecoder().decode(chosen.slice(0, 99)) : String(chosen),
    };
  }
  if (type === "u64" && typeof value === "bigint") {
    const handle = random.pick([
      0n,
      1n,
      2n ** 63n,
      2n ** 64n - 1n,
      value ^ (1n << 50n),
      ...world.deadHandles,
    ]);
    return { value: handle, what: `handle ${handle}` };
  }
  return undefined;
}

/** A value that may be right or wrong: the call may do anything but crash. */
export function oddArgument(
  original: Original,
  others: readonly RawArgument[],
  world: Surroundings,
  random: Random,
): Mutation {
  const { value } = original;
  if (!(value instanceof Descriptor))
    return wrongArgument(original, world, random) ?? { value, what: "as it was" };
  const odd = new Descriptor(value.bytes);
  const dimension = random.integer(0, 5);
  const other = random.pick(others.filter((candidate) => candidate instanceof Descriptor));
  const size = BigInt(random.pick([0, 1, 2, 3, 5, 8, 13, 64, 65_536, 2 ** 31, 2 ** 40]));
  random.pick([
    () => (odd.dtype = random.integer(0, 7)),
    () => (odd.rank = random.integer(1, 6)),
    () => odd.setShape(dimension, odd.shape(dimension) + BigInt(random.integer(-1, 1))),
    () => odd.setShape(dimension, size),
    () => odd.setStride(dimension, size),
    () => odd.setStride(dimension, 0n),
    () => {
      // A guard is live memory as well: a call that is pointed into one may write there.
      const moved = odd.data + BigInt(random.integer(-64, 64));
      if (!world.isGuarded(moved)) odd.data = moved;
    },
    () => (odd.data = other.data),
    () => odd.bytes.set(other.bytes),
    () => {
      for (let at = 0; at < 6; at++) odd.setShape(at, BigInt(random.integer(0, 6)));
    },
    () => {
      for (let at = 16; at < odd.bytes.length; at++) odd.bytes[at] = random.integer(0, 255);
    },
  ])();
  return { value: odd, what: odd.toString() };
}

type BreakTensor = (
  from: Descriptor,
  type: ArgumentType,
  world: Surroundings,
  random: Random,
) => Mutation | undefined;

function breaking(
  change: (tensor: Descriptor, dimension: number, world: Surroundings, random: Random) => void,
): BreakTensor {
  return (from, _, world, random) => {
    const tensor = new Descriptor(from.bytes);
    change(tensor, random.integer(0, from.rank - 1), world, random);
    return { value: tensor, what: tensor.toString() };
  };
}

const elementBytes = [4, 2, 2, 1, 1, 4, 2, 1];

function bytesOf(tensor: Descriptor): number {
  return elementBytes[tensor.dtype] ?? 1;
}

const brokenTensors: readonly BreakTensor[] = [
  (_, type) => (type === "tensor" ? { value: null, what: "NULL" } : undefined),
  breaking(
    (tensor, _, __, random) => (tensor.data = random.pick([0n, 256n, 0xdeadbeefdeadbe00n, 2n ** 64n - 256n])),
  ),
  breaking((tensor, _, world, random) => (tensor.data = random.pick(world.foreignAddresses))),
  // The tensor fills its allocation: one element further is outside of it, one byte further besides unaligned.
  breaking((tensor) => (tensor.data += BigInt(bytesOf(tensor)))),
  breaking((tensor) => (tensor.data -= BigInt(bytesOf(tensor)))),
  breaking((tensor) => (tensor.data += 1n)),
  breaking((tensor, _, __, random) => (tensor.dtype = random.pick([-1, 8, 255, 2 ** 31 - 1, -(2 ** 31)]))),
  breaking((tensor, _, __, random) => (tensor.rank = random.pick([0, 7, -1, 2 ** 31 - 1, -(2 ** 31)]))),
  breaking((tensor, at, _, random) => tensor.setShape(at, random.pick([-1n, -(2n ** 63n), -(2n ** 32n)]))),
  breaking((tensor, at, _, random) =>
    tensor.setShape(at, random.pick([2n ** 40n, 2n ** 62n, 2n ** 63n - 1n])),
  ),
  breaking((tensor, at) => tensor.setShape(at, tensor.shape(at) + 1n)),
  breaking((tensor) => {
    for (let at = 0; at < tensor.rank; at++) tensor.setShape(at, 2n ** 32n);
  }),
  breaking((tensor, at, _, random) => tensor.setStride(at, random.pick([-1n, -(2n ** 63n), -(2n ** 32n)]))),
  (from, _, __, random) => {
    const at = Array.from({ length: from.rank }, (___, dimension) => dimension).find(
      (dim) => from.shape(dim) > 1n,
    );
    if (at === undefined) return undefined;
    const tensor = new Descriptor(from.bytes);
    tensor.setStride(at, random.pick([2n ** 40n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 61n + 1n]));
    return { value: tensor, what: tensor.toString() };
  },
];

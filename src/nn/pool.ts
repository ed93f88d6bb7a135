import { Allocation, type Device } from "../../ffi/index.ts";

const ALIGNMENT = 256;
/** Blocks are whole multiples of this, which is what CUDA maps and what one huge page holds. */
const BLOCK_UNIT = 2 * 2 ** 20;
/** Each block is at least this share of what the pool has, so that many pieces need few blocks. */
const GROWTH = 1 / 8;
const MOST_GROWTH_BYTES = 2 ** 30;

/** A run of bytes of a block. */
interface Piece {
  readonly block: Block;
  readonly offset: number;
  readonly bytes: number;
}

interface Block {
  readonly memory: Allocation;
  /** Bytes that pieces take. */
  used: number;
  /** What no piece takes, by offset; neighbours are always joined. */
  gaps: Piece[];
}

/**
 * Device memory taken in blocks and handed out in pieces. A disposed piece may be handed out again at once, so its users
 * must be ordered by a stream.
 */
export class Pool implements Disposable {
  readonly #device: Device;
  #blocks: Block[] = [];
  #bytesInUse = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  /** Uninitialised memory, 256-byte aligned; disposing it gives it back to the pool. */
  take(bytes: number): Allocation {
    const wanted = roundUp(Math.max(1, bytes), ALIGNMENT);
    const { block, offset } = this.#findGap(wanted) ?? this.#grow(wanted);
    const piece = { block, offset, bytes: wanted };
    cut(piece);
    this.#bytesInUse += bytes;
    return new Allocation(block.memory.address + offset, bytes, () => {
      this.#bytesInUse -= bytes;
      join(piece);
    });
  }

  /** Whether a piece could be taken without another block. */
  has(bytes: number): boolean {
    return this.#findGap(roundUp(Math.max(1, bytes), ALIGNMENT)) !== undefined;
  }

  /** Bytes of device memory held, in use or not. */
  get bytes(): number {
    return this.#blocks.reduce((sum, { memory }) => sum + memory.bytes, 0);
  }

  /** Bytes of the pieces that are handed out. */
  get bytesInUse(): number {
    return this.#bytesInUse;
  }

  /** Gives the device every block, or every one smaller than `below` bytes, of which no piece is handed out. */
  trim(below = Number.POSITIVE_INFINITY): void {
    const unused = this.#blocks.filter(({ used, memory }) => used === 0 && memory.bytes < below);
    this.#blocks = this.#blocks.filter((block) => !unused.includes(block));
    for (const { memory } of unused) memory[Symbol.dispose]();
  }

  /** Frees all memory. Pieces still handed out must not be used any more. */
  [Symbol.dispose](): void {
    for (const { memory } of this.#blocks.splice(0)) memory[Symbol.dispose]();
  }

  /** The smallest gap that is large enough. */
  #findGap(bytes: number): Piece | undefined {
    let best: Piece | undefined;
    for (const { gaps } of this.#blocks)
      for (const gap of gaps) if (gap.bytes >= bytes && (!best || gap.bytes < best.bytes)) best = gap;
    return best;
  }

  /** A further block, as one gap. Smaller ones that stand empty make room for it. */
  #grow(bytes: number): Piece {
    const size = roundUp(Math.max(bytes, Math.min(this.bytes * GROWTH, MOST_GROWTH_BYTES)), BLOCK_UNIT);
    this.trim(size);
    const block: Block = { memory: this.#device.allocate(size), used: 0, gaps: [] };
    block.gaps = [{ block, offset: 0, bytes: size }];
    this.#blocks.push(block);
    return block.gaps[0]!;
  }
}

/** Takes a piece from the gap that begins where it does. */
function cut({ block, offset, bytes }: Piece): void {
  const at = block.gaps.findIndex((gap) => gap.offset === offset);
  const left = block.gaps[at]!.bytes - bytes;
  block.gaps.splice(at, 1, ...(left > 0 ? [{ block, offset: offset + bytes, bytes: left }] : []));
  block.used += bytes;
}

/** Turns a piece into a gap, joined with those beside it. */
function join({ block, offset, bytes }: Piece): void {
  const { gaps } = block;
  const next = gaps.findIndex((gap) => gap.offset > offset);
  const at = next < 0 ? gaps.length : next;
  const before = gaps[at - 1];
  const after = gaps[at];
  const joinsBefore = before !== undefined && before.offset + before.bytes === offset;
  const joinsAfter = after !== undefined && offset + bytes === after.offset;
  const start = joinsBefore ? before.offset : offset;
  const end = joinsAfter ? after.offset + after.bytes : offset + bytes;
  gaps.splice(joinsBefore ? at - 1 : at, Number(joinsBefore) + Number(joinsAfter), {
    block,
    offset: start,
    bytes: end - start,
  });
  block.used -= bytes;
}

function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}

import { expect, test } from "bun:test";
import { Device } from "../../ffi/index.ts";
import { Pool } from "../../src/nn/pool.ts";

const MEGABYTE = 2 ** 20;

async function withPool(body: (pool: Pool, device: Device) => void): Promise<void> {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  {
    using pool = new Pool(device);
    body(pool, device);
  }
  expect(device.info().bytesAllocated).toBe(0);
}

test("pieces never overlap, whatever is taken and given back, and come from few blocks", () =>
  withPool((pool) => {
    let state = 12345;
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const pieces: ReturnType<Pool["take"]>[] = [];
    for (let round = 0; round < 3000; round++) {
      if (pieces.length > 40 || (pieces.length > 0 && random(2) === 0))
        pieces.splice(random(pieces.length), 1)[0]![Symbol.dispose]();
      else pieces.push(pool.take(1 + random(random(10) === 0 ? 3 * MEGABYTE : 20_000)));
      const byAddress = pieces.toSorted((a, b) => a.address - b.address);
      const isApart = byAddress.every(({ address }, at) => {
        const before = byAddress[at - 1];
        return address % 256 === 0 && (!before || before.address + before.bytes <= address);
      });
      expect(isApart).toBe(true);
    }
    const wanted = pieces.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(pool.bytesInUse).toBe(wanted);
    for (const piece of pieces) piece[Symbol.dispose]();
    expect(pool.bytesInUse).toBe(0);
  }));

test("what is given back joins: the whole of it can be taken as one piece again", () =>
  withPool((pool) => {
    const pieces = Array.from({ length: 8 }, () => pool.take(MEGABYTE / 4));
    expect(pool.bytes).toBe(2 * MEGABYTE);
    for (const at of [3, 0, 7, 1, 5, 2, 6, 4]) pieces[at]![Symbol.dispose]();
    using whole = pool.take(2 * MEGABYTE);
    expect(whole.bytes).toBe(2 * MEGABYTE);
    expect(pool.bytes).toBe(2 * MEGABYTE);
  }));

test("a block of which a piece is in use stays; the others go back to the device", () =>
  withPool((pool, device) => {
    const first = pool.take(3 * MEGABYTE);
    using second = pool.take(5 * MEGABYTE);
    expect(second.bytes).toBe(5 * MEGABYTE);
    first[Symbol.dispose]();
    pool.trim();
    expect(pool.bytes).toBe(6 * MEGABYTE);
    expect(device.info().bytesAllocated).toBe(6 * MEGABYTE);
  }));

test("blocks that stand empty make room for a larger one", () =>
  withPool((pool) => {
    for (const megabytes of [2, 4, 8, 16, 32]) pool.take(megabytes * MEGABYTE)[Symbol.dispose]();
    expect(pool.bytes).toBe(32 * MEGABYTE);
  }));

test("thousands of small pieces take few blocks, most of them filled", () =>
  withPool((pool) => {
    const sizes = new Set<number>();
    const pieces = Array.from({ length: 2000 }, () => {
      const piece = pool.take(100_000);
      sizes.add(pool.bytes);
      return piece;
    });
    expect(pool.bytes).toBeLessThan(2000 * 100_096 * 1.15);
    expect(sizes.size).toBeLessThan(60);
    for (const piece of pieces) piece[Symbol.dispose]();
  }));

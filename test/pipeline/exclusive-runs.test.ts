import { describe, expect, test } from "bun:test";
import { throwIfAborted } from "../../ffi/errors.ts";
import { ExclusiveRuns } from "../../src/pipeline/exclusive-runs.ts";

/** Counts up until its signal fires; notes its beginning and end. */
function counting(log: string[], name: string, values = 1000) {
  return async function* (signal: AbortSignal): AsyncGenerator<number, void, void> {
    log.push(`${name} begins`);
    try {
      for (let value = 0; value < values; value++) {
        await Bun.sleep(1);
        throwIfAborted(signal);
        yield value;
      }
    } finally {
      log.push(`${name} ends`);
    }
  };
}

describe("runs of one resource", () => {
  test("go one at a time, in the order they were asked for", async () => {
    const runs = new ExclusiveRuns();
    const log: string[] = [];
    const all = ["a", "b", "c"].map((name) => Array.fromAsync(runs.run(undefined, counting(log, name, 3))));
    expect(await Promise.all(all)).toEqual([
      [0, 1, 2],
      [0, 1, 2],
      [0, 1, 2],
    ]);
    expect(log).toEqual(["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
  });

  test("a loop that is left early lets the next one in", async () => {
    const runs = new ExclusiveRuns();
    const log: string[] = [];
    for await (const _ of runs.run(undefined, counting(log, "a"))) break;
    expect(await Array.fromAsync(runs.run(undefined, counting(log, "b", 1)))).toEqual([0]);
    expect(log).toEqual(["a begins", "a ends", "b begins", "b ends"]);
  });

  test("a signal ends a wait and passes the turn on", async () => {
    const runs = new ExclusiveRuns();
    const log: string[] = [];
    const first = runs.run(undefined, counting(log, "a"));
    await first.next();
    const controller = new AbortController();
    const second = Array.fromAsync(runs.run(controller.signal, counting(log, "b")));
    const third = Array.fromAsync(runs.run(undefined, counting(log, "c", 1)));
    controller.abort();
    await expect(second).rejects.toMatchObject({ code: "aborted" });
    await first.return();
    expect(await third).toEqual([0]);
    expect(log).toEqual(["a begins", "a ends", "c begins", "c ends"]);
  });

  test("one that nobody reads is ended when another waits, and its reader is told", async () => {
    const runs = new ExclusiveRuns({ abandonedSeconds: 0.05 });
    const log: string[] = [];
    const abandoned = runs.run(undefined, counting(log, "a"));
    await abandoned.next();
    await Bun.sleep(100);
    expect(log).toEqual(["a begins"]);
    expect(await Array.fromAsync(runs.run(undefined, counting(log, "b", 1)))).toEqual([0]);
    expect(log).toEqual(["a begins", "a ends", "b begins", "b ends"]);
    await expect(abandoned.next()).rejects.toMatchObject({
      code: "aborted",
      message: expect.stringContaining("0.05 s"),
    });
  });

  test("one that is read slowly, but read, goes on", async () => {
    const runs = new ExclusiveRuns({ abandonedSeconds: 0.2 });
    const log: string[] = [];
    const slow = runs.run(undefined, counting(log, "a", 5));
    await slow.next();
    const next = Array.fromAsync(runs.run(undefined, counting(log, "b", 1)));
    for (let value = 1; value < 5; value++) {
      await Bun.sleep(100);
      expect(await slow.next()).toEqual({ done: false, value });
    }
    expect((await slow.next()).done).toBe(true);
    expect(await next).toEqual([0]);
  });

  test("closing ends what runs, what is suspended and what waits, and refuses what comes later", async () => {
    for (const isRead of [true, false]) {
      const runs = new ExclusiveRuns();
      const log: string[] = [];
      const current = runs.run(undefined, counting(log, "a"));
      await current.next();
      const reading = isRead ? Array.fromAsync(current) : undefined;
      const waiting = Array.fromAsync(runs.run(undefined, counting(log, "b")));
      const closed = { code: "disposed" };
      const told = Promise.allSettled(reading ? [waiting, reading] : [waiting]);
      await runs.close();
      expect(log).toEqual(["a begins", "a ends"]);
      for (const outcome of await told) expect(outcome).toMatchObject({ status: "rejected", reason: closed });
      if (!isRead) await expect(current.next()).rejects.toMatchObject(closed);
      await expect(runs.run(undefined, counting(log, "c")).next()).rejects.toMatchObject(closed);
      await runs.close();
    }
  });

  test("an error of a run is its own, and the next one runs", async () => {
    const runs = new ExclusiveRuns();
    const failing = runs.run(undefined, async function* () {
      yield 1;
      throw new Error("broken");
    });
    await expect(Array.fromAsync(failing)).rejects.toThrow("broken");
    expect(await Array.fromAsync(runs.run(undefined, counting([], "b", 2)))).toEqual([0, 1]);
  });
});

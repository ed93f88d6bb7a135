import { expect, test } from "bun:test";
import { TamiasError, type DeviceTensor } from "../../../ffi/index.ts";
import { TextStates } from "../../../src/models/text/text-states.ts";
import type { Ops } from "../../../src/nn/index.ts";
import { withOps } from "../with-ops.ts";

/** An encoder of states of so many bytes, which notes what it was asked for. */
class FakeEncoder {
  readonly #ops: Ops;
  readonly encoded: string[] = [];

  constructor(ops: Ops) {
    this.#ops = ops;
  }

  encode(prompt: string, bytes = 100): { context: DeviceTensor } {
    this.encoded.push(prompt);
    return { context: this.#ops.memory.own([bytes], "u8") };
  }
}

test("a prompt that comes again is not encoded again", () =>
  withOps((ops) => {
    const encoder = new FakeEncoder(ops);
    using kept = new TextStates<"context">(ops.stream.device);
    let address: number;
    {
      using first = kept.take("a fox", () => encoder.encode("a fox"));
      ({ address } = first.states.context);
      using other = kept.take("an owl", () => encoder.encode("an owl"));
      expect(other.states.context.address).not.toBe(address);
    }
    using again = kept.take("a fox", () => encoder.encode("a fox"));
    expect(again.states.context.address).toBe(address);
    expect(encoder.encoded).toEqual(["a fox", "an owl"]);
  }));

test("the prompts used longest ago go first, by count and by bytes", () =>
  withOps((ops) => {
    for (const bounds of [{ count: 3 }, { bytes: 300 }]) {
      const encoder = new FakeEncoder(ops);
      using kept = new TextStates<"context">(ops.stream.device, bounds);
      const use = (prompt: string) => kept.take(prompt, () => encoder.encode(prompt))[Symbol.dispose]();
      for (const prompt of ["a", "b", "c", "a", "d", "a", "b"]) use(prompt);
      expect(encoder.encoded).toEqual(["a", "b", "c", "d", "b"]);
      expect(kept.bytes).toBe(300);
    }
  }));

test("what a run uses is never freed; it is once the run ends", () =>
  withOps((ops) => {
    const { device } = ops.stream;
    const encoder = new FakeEncoder(ops);
    using kept = new TextStates<"context">(device, { bytes: 150 });
    const before = device.info().bytesAllocated;
    {
      using first = kept.take("a", () => encoder.encode("a"));
      using second = kept.take("b", () => encoder.encode("b", 1000));
      kept.trim();
      expect(first.states.context.address).toBeGreaterThan(0);
      expect(second.states.context.address).toBeGreaterThan(0);
      expect(kept.bytes).toBe(1100);
      first[Symbol.dispose]();
      first[Symbol.dispose]();
      expect(kept.bytes).toBe(1000);
    }
    expect(kept.bytes).toBe(0);
    expect(device.info().bytesAllocated).toBe(before);
  }));

test("a device without memory gets the states that no run uses", () =>
  withOps((ops) => {
    const { device } = ops.stream;
    const encoder = new FakeEncoder(ops);
    using kept = new TextStates<"context">(device);
    kept.take("a", () => encoder.encode("a"))[Symbol.dispose]();
    using used = kept.take("b", () => encoder.encode("b"));
    expect(() => device.allocate(2 ** 45)).toThrow(TamiasError);
    expect(kept.bytes).toBe(used.states.context.bytes);
  }));

test("an encoder that fails leaves nothing behind", () =>
  withOps((ops) => {
    using kept = new TextStates<"context">(ops.stream.device);
    const fail = () => {
      throw new TamiasError("bad_input", "no such token");
    };
    expect(() => kept.take("a", fail)).toThrow("no such token");
    expect(kept.bytes).toBe(0);
    const encoder = new FakeEncoder(ops);
    using second = kept.take("a", () => encoder.encode("a"));
    expect(second.states.context.bytes).toBe(100);
  }));

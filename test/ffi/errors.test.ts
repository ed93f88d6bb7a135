import { expect, test } from "bun:test";
import { errorCode, inOrder, TamiasError } from "../../ffi/errors.ts";

/** A resource whose disposer fails. */
const failing = (message: string): Disposable => ({
  [Symbol.dispose]() {
    throw new TamiasError("device_failed", message);
  },
});

function caught(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

test("what was thrown first stays the error, whatever its disposers throw", () => {
  const error = caught(() => {
    using outer = failing("The stream cannot be destroyed.");
    using inner = failing("The event cannot be destroyed.");
    expect([outer, inner].length).toBe(2);
    throw new TamiasError("out_of_memory", "There is no room.");
  });
  expect(errorCode(error)).toBe("out_of_memory");
  expect(inOrder(error)).toMatchObject({
    first: { message: "There is no room." },
    later: ["The event cannot be destroyed.", "The stream cannot be destroyed."],
  });
});

test("a disposer that fails in a disposer, and errors without company", () => {
  const error = caught(() => {
    using _ = {
      [Symbol.dispose]() {
        using inner = failing("third");
        throw new Error(inner ? "second" : "none");
      },
    };
    throw new Error("first");
  });
  expect(inOrder(error)).toMatchObject({ first: { message: "first" }, later: ["second", "third"] });
  expect(errorCode(error)).toBeUndefined();
  expect(inOrder("text")).toEqual({ first: "text", later: [] });
});

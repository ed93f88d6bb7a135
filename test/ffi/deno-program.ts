// Run by deno.test.ts in Deno: one product, and one wrong call.
import { Device, TamiasError } from "../../ffi/index.ts";
import { Ops } from "../../src/nn/ops.ts";

using device = await Device.open({ backend: "cpu", threads: 1 });
using stream = device.createStream();
using ops = new Ops(stream);
using x = ops.memory.persistent([1, 2, 7]);
using weight = ops.memory.persistent([3, 7]);
using out = ops.memory.persistent([1, 2, 3]);
ops.fill(x, 0.5);
ops.fill(weight, 2);
ops.linear(x, { weight, bias: null }, out);
await stream.finished();
console.log(stream.read(out, new Float32Array(6)).join());
try {
  ops.linear(x, { weight: x, bias: null }, out);
} catch (error) {
  if (error instanceof TamiasError) console.log(error.code, error.message);
}

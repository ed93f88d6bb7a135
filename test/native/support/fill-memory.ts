import { Device, type DeviceTensor, TamiasError } from "../../../ffi/index.ts";

/** Allocates without touching until that is refused, then touches all that was given. */
async function fillMemory() {
  using device = await Device.open({ backend: "cpu", threads: 1 });
  using stream = device.createStream();
  const given: DeviceTensor[] = [];
  let code = "none";
  try {
    while (given.length < 1000) given.push(device.tensor("u8", [32 << 20]));
  } catch (error) {
    if (error instanceof TamiasError) code = error.code;
  }
  for (const tensor of given) stream.queue("tamias_fill", 1, tensor);
  stream.synchronize();
  const info = device.info();
  return { total: info.bytesTotal, allocated: info.bytesAllocated, code };
}

console.log(JSON.stringify(await fillMemory()));

import { expect, test } from "bun:test";

const ffi = new URL("../../ffi/index.ts", import.meta.url).pathname;
const program = `import { Device } from ${JSON.stringify(ffi)};
using device = await Device.open({ backend: "cpu", threads: 1 });
using stream = device.createStream();
using tensor = device.tensor("f32", [3, 5]);
for (let time = 0; time < 4; time++) stream.queue("tamias_fill", time, tensor);
stream.synchronize();
console.log("done");`;

async function traceOf(setting: string): Promise<string> {
  const run = Bun.spawn([process.execPath, "-e", program], {
    env: { ...process.env, TAMIAS_TRACE: setting },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, trace] = await Promise.all([run.stdout.text(), run.stderr.text()]);
  expect(await run.exited, trace).toBe(0);
  expect(output.trim()).toBe("done");
  return trace;
}

test("TAMIAS_TRACE=1 prints every call with its time and shapes, and totals at the end", async () => {
  const lines = (await traceOf("1")).split("\n");
  const calls = lines.filter((line) => /^tamias_fill +[\d.]+ ms +f32\[3,5\]$/.test(line));
  expect(calls).toHaveLength(4);
  expect(lines.filter((line) => /^tamias_fill +[\d.]+ ms in 4 calls$/.test(line))).toHaveLength(1);
  expect(lines.some((line) => /^tamias_stream_create +[\d.]+ ms/.test(line))).toBe(true);
});

test("without it nothing is printed", async () => {
  expect(await traceOf("0")).toBe("");
});

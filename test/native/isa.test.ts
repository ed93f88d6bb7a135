import { expect, test } from "bun:test";
import { Device } from "../../ffi/index.ts";
import { testBackend, TIMEOUT_MILLISECONDS } from "./support.ts";

const folder = import.meta.dir;
const isCpu = testBackend() === "cpu";
/** Streams, memory and refusals are the same code in every instruction set. */
const elsewhere = /abuse|isa|memory|refusals|streams/;

async function instructionSet(): Promise<string> {
  using device = await Device.open({ backend: "cpu" });
  return device.info().name;
}

const isOnAvx512 = isCpu && (await instructionSet()).includes("512");

test.skipIf(!isOnAvx512)(
  "every kernel gives the same answers with AVX2",
  async () => {
    const files = [...new Bun.Glob("*.test.ts").scanSync(folder)].filter((file) => !elsewhere.test(file));
    expect(files.length).toBeGreaterThan(5);
    const run = Bun.spawn(
      [process.execPath, "test", "--timeout=60000", ...files.map((file) => `${folder}/${file}`)],
      {
        env: { ...process.env, TAMIAS_ISA: "avx2" },
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const [output, log] = await Promise.all([run.stdout.text(), run.stderr.text()]);
    expect(await run.exited, `${output}\n${log}`.slice(-8000)).toBe(0);
  },
  TIMEOUT_MILLISECONDS,
);

test.skipIf(!isCpu)("TAMIAS_ISA chooses the instruction set, and an unknown one is refused", async () => {
  const open = async (isa: string) => {
    const code = `import { Device } from ${JSON.stringify(`${folder}/../../ffi/index.ts`)};
      using device = await Device.open({ backend: "cpu" });
      console.log(device.info().name);`;
    const run = Bun.spawn([process.execPath, "-e", code], {
      env: { ...process.env, TAMIAS_ISA: isa },
      stdout: "pipe",
      stderr: "pipe",
    });
    return { name: (await run.stdout.text()).trim(), log: await run.stderr.text(), code: await run.exited };
  };
  expect(await open("avx2")).toMatchObject({ name: "CPU, AVX2", code: 0 });
  const unknown = await open("mmx");
  expect(unknown.code).not.toBe(0);
  expect(unknown.log).toContain("TAMIAS_ISA is 'mmx'");
});

import { expect, test } from "bun:test";
import { fileURLToPath } from "node:url";

const deno = Bun.which("deno");
if (!deno) console.log("Deno is not installed: its side of the FFI is not tested.");

test.skipIf(!deno)("the same table works in Deno", async () => {
  const program = fileURLToPath(new URL("./deno-program.ts", import.meta.url));
  const run = Bun.spawn([deno!, "run", "--allow-ffi", "--allow-read", "--allow-env", program], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [text, complaints] = await Promise.all([run.stdout.text(), run.stderr.text()]);
  expect({ exitCode: await run.exited, text, complaints: complaints.includes("error") }).toEqual({
    exitCode: 0,
    text: "7,7,7,7,7,7\nbad_input linear: weight has rank 3, expected 2\n",
    complaints: false,
  });
});

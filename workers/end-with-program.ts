import { dlopen, FFIType } from "bun:ffi";

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * Has the system kill this process when the thread that started it ends, however that happens and whatever this process
 * is at: one that hangs, or is frozen, would not notice its closed channel and would keep the device. Linux only.
 */
export function endWithProgram(): void {
  if (process.platform !== "linux") return;
  const libc = dlopen("libc.so.6", {
    prctl: { args: [FFIType.i32, FFIType.u64], returns: FFIType.i32 },
  });
  libc.symbols.prctl(PR_SET_PDEATHSIG, SIGKILL);
}

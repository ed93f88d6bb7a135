/** What the process tells its caller. */
export const exitCode = {
  done: 0,
  failed: 1,
  usage: 2,
  /** 128 + SIGINT, as shells have it. */
  interrupted: 130,
} as const;

import { existsSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "./temporary-folder.ts";

const unpacked = join(import.meta.dir, "../../build/tools/usr/sbin/nats-server");
const program = Bun.which("nats-server") ?? (existsSync(unpacked) ? unpacked : undefined);

/** Why tests that need a server are skipped; undefined: they run. */
export const noNatsServer: string | undefined = program
  ? undefined
  : "nats-server is neither installed nor in build/tools: the queue on a NATS server is not tested.";

/** A NATS server with JetStream on a port of its own, for tests to kill and start again. */
export class NatsServer implements AsyncDisposable {
  readonly url: string;
  readonly #port: number;
  readonly #folder: Awaited<ReturnType<typeof temporaryFolder>>;
  #process: Bun.Subprocess | undefined;

  static async start(): Promise<NatsServer> {
    const server = new NatsServer(freePort(), await temporaryFolder());
    await server.start();
    return server;
  }

  private constructor(port: number, folder: Awaited<ReturnType<typeof temporaryFolder>>) {
    this.#port = port;
    this.url = `nats://127.0.0.1:${port}`;
    this.#folder = folder;
  }

  async start(): Promise<void> {
    const place = ["-a", "127.0.0.1", "-p", String(this.#port), "-sd", this.#folder.path];
    this.#process = Bun.spawn([program!, "-js", ...place], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    for (let tries = 0; tries < 250; tries++) {
      if (await answers(this.#port)) return;
      await Bun.sleep(20);
    }
    throw new Error("nats-server does not answer.");
  }

  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#folder[Symbol.asyncDispose]();
  }
}

function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

async function answers(port: number): Promise<boolean> {
  try {
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } });
    socket.end();
    return true;
  } catch {
    return false;
  }
}

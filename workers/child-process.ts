import { fileURLToPath } from "node:url";
import { TamiasError } from "../ffi/errors.ts";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import type { PictureSizes, RequestDefaults } from "../src/models/family.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import type { GenerateOptions } from "../src/pipeline/options.ts";
import { Connection } from "./connection.ts";
import type { AboutModel, FromWorker } from "./protocol.ts";

const program = fileURLToPath(new URL("./device-process.ts", import.meta.url));

/** What a process that was told to stop may still take. */
const STOP_MILLISECONDS = 5000;

/** One child process with an opened model, from its start to its end. */
export class ChildProcess {
  readonly model: string;
  readonly device: string;
  readonly sizes: PictureSizes;
  readonly defaults: RequestDefaults;
  readonly pid: number;
  /** Resolves when the process is gone, whatever ended it. */
  readonly exited: Promise<void>;
  readonly #connection: Connection;
  readonly #kill: () => void;

  /**
   * @param signal kills the process while it opens the model
   * @throws TamiasError as `open` does; `device_lost` when the process dies meanwhile
   */
  static async start(options: OpenOptions, signal: AbortSignal): Promise<ChildProcess> {
    const channelClosed = Promise.withResolvers<void>();
    const child = Bun.spawn([process.execPath, program], {
      // Structured clone over a socket pair: 27 us a round trip, 5 ms for a picture of 1024 x 1024.
      serialization: "advanced",
      ipc: (message: FromWorker) => {
        connection.receive(message);
        // It leaves when the channel closes.
        if (message.type === "closed" || message.type === "refused") child.disconnect();
      },
      onDisconnect: () => channelClosed.resolve(),
      stdio: ["ignore", "ignore", "inherit"],
    });
    const kill = () => child.kill("SIGKILL");
    const connection = new Connection((message) => {
      try {
        child.send(message);
      } catch {
        // It is gone; its end, which comes next, fails whatever waits.
      }
    });
    // The channel closes after the last message has come through.
    const exited = channelClosed.promise.then(async () => {
      using _ = killAfterGrace(kill);
      await child.exited;
      connection.fail(
        lost(child.signalCode === null ? `exit code ${child.exitCode}` : `${child.signalCode}`),
      );
    });
    signal.addEventListener("abort", kill);
    try {
      const opened = await connection.open(options);
      return new ChildProcess(opened, child.pid, connection, exited, kill);
    } catch (error) {
      await exited;
      throw error;
    } finally {
      signal.removeEventListener("abort", kill);
    }
  }

  private constructor(
    { model, device, sizes, defaults }: AboutModel,
    pid: number,
    connection: Connection,
    exited: Promise<void>,
    kill: () => void,
  ) {
    this.model = model;
    this.device = device;
    this.sizes = sizes;
    this.defaults = defaults;
    this.pid = pid;
    this.exited = exited;
    this.#connection = connection;
    this.#kill = kill;
  }

  get deviceBytes(): number | undefined {
    return this.#connection.deviceBytes;
  }

  generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    return this.#connection.generate(options);
  }

  /** Stops what is running and ends the process: with its consent, or after some seconds without. */
  async stop(): Promise<void> {
    using _ = killAfterGrace(this.#kill);
    await this.#connection.close();
    await this.exited;
  }
}

function killAfterGrace(kill: () => void): Disposable {
  const timer = setTimeout(kill, STOP_MILLISECONDS);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

function lost(reason: string): TamiasError {
  return new TamiasError("device_lost", `The process that owned the device ended (${reason}).`, {
    hint: "It is being started again; the same request may be made again.",
  });
}

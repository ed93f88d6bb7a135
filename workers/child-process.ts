import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { errorCode, TamiasError } from "../ffi/errors.ts";
import type { GenerateEvent } from "../src/pipeline/events.ts";
import type { PictureSizes, RequestDefaults } from "../src/models/family.ts";
import type { OpenOptions } from "../src/pipeline/open.ts";
import type { GenerateOptions } from "../src/pipeline/options.ts";
import { CLOSE_SECONDS, Connection } from "./connection.ts";
import { type Deadlines, defaultDeadlines } from "./deadlines.ts";
import type { AboutModel, FromWorker } from "./protocol.ts";

const deviceProgram = fileURLToPath(new URL("./device-process.ts", import.meta.url));

/** Requests in a row that may find too little memory before the process, which may hold what they lack, is ended. */
export const MAX_OUT_OF_MEMORY = 2;
/** A process that a kill does not end (it is stuck in a driver) is left to the system after so long. */
const KILL_SECONDS = 10;
/** What a message of a process that has ended may still take. */
const LAST_MESSAGE_SECONDS = 1;

export interface ChildOptions {
  /** Kills the process while it opens the model. */
  readonly signal: AbortSignal;
  readonly deadlines?: Deadlines;
  /** Path of the program that serves the other end. */
  readonly program?: string;
}

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
  #outOfMemory = 0;

  /** @throws TamiasError as `open` does; `device_lost` when the process dies meanwhile or takes too long */
  static async start(
    options: OpenOptions,
    { signal, deadlines = defaultDeadlines, program = deviceProgram }: ChildOptions,
  ): Promise<ChildProcess> {
    const channelClosed = Promise.withResolvers<void>();
    const killed = Promise.withResolvers<void>();
    const child = Bun.spawn([process.execPath, program], {
      // Structured clone over a socket pair: 27 us a round trip, 5 ms for a picture of 1024 x 1024.
      serialization: "advanced",
      ipc: (message: FromWorker) => {
        connection.receive(message);
        if (message.type !== "closed" && message.type !== "refused") return;
        // It leaves when the channel closes.
        child.disconnect();
        expectEnd();
      },
      onDisconnect: () => {
        channelClosed.resolve();
        expectEnd();
      },
      stdio: ["ignore", "ignore", "inherit"],
    });
    const kill = (): void => {
      child.kill("SIGKILL");
      killed.resolve();
    };
    const tell = (message: unknown): void => {
      try {
        child.send(message);
      } catch {
        // It is gone; its end, which comes next, fails whatever waits.
      }
    };
    const connection = new Connection(tell, deadlines, kill);
    let grace: ReturnType<typeof setTimeout> | undefined;
    const expectEnd = (): void => {
      grace ??= setTimeout(kill, CLOSE_SECONDS * 1000);
    };
    const end = async (): Promise<void> => {
      await child.exited;
      // The channel closes after the last message has come through; one that this end closed may not say so.
      await Promise.race([channelClosed.promise, pause(LAST_MESSAGE_SECONDS)]);
    };
    const exited = Promise.race([end(), killed.promise.then(() => pause(KILL_SECONDS))]).then(() => {
      clearTimeout(grace);
      connection.fail(
        lost(child.signalCode === null ? `exit code ${child.exitCode}` : `${child.signalCode}`),
      );
    });
    signal.addEventListener("abort", kill);
    try {
      if (signal.aborted) kill();
      const opened = await connection.open(options);
      return new ChildProcess(opened, child.pid, connection, exited);
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
  ) {
    this.model = model;
    this.device = device;
    this.sizes = sizes;
    this.defaults = defaults;
    this.pid = pid;
    this.exited = exited;
    this.#connection = connection;
  }

  get deviceBytes(): number | undefined {
    return this.#connection.deviceBytes;
  }

  /** Why it is not asked any more; the process is gone or about to be. */
  get failure(): TamiasError | undefined {
    return this.#connection.failure;
  }

  async *generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, void> {
    try {
      for await (const event of this.#connection.generate(options)) {
        if (event.type === "result") this.#outOfMemory = 0;
        yield event;
      }
    } catch (error) {
      if (errorCode(error) === "out_of_memory" && ++this.#outOfMemory >= MAX_OUT_OF_MEMORY)
        this.#connection.giveUp(ranOut());
      throw error;
    }
  }

  /** Stops what is running and ends the process: with its consent, or after some seconds without. */
  async stop(): Promise<void> {
    await this.#connection.close();
    await this.exited;
  }
}

/** Keeps no program running. */
function pause(seconds: number): Promise<void> {
  return sleep(seconds * 1000, undefined, { ref: false });
}

function lost(reason: string): TamiasError {
  return new TamiasError("device_lost", `The process that owned the device ended (${reason}).`, {
    hint: "It is being started again; the same request may be made again.",
  });
}

function ranOut(): TamiasError {
  return new TamiasError("device_failed", `${MAX_OUT_OF_MEMORY} requests in a row found too little memory.`);
}

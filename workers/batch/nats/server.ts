import {
  AckPolicy,
  type ConsumerInfo,
  jetstream,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { Objm, type ObjectStore } from "@nats-io/obj";
import { connect, millis, nanos, type NatsConnection } from "@nats-io/transport-node";
import { TamiasError } from "../../../ffi/errors.ts";
import { PICTURES_BUCKET, RESULTS_STREAM, TASKS_STREAM, WORKERS_CONSUMER } from "./messages.ts";
import { retry, type RetryOptions } from "./retry.ts";

const DAY = 24 * 60 * 60 * 1000;
/** Tasks and results that nobody fetches. */
const KEPT_MILLISECONDS = 7 * DAY;
/** A worker that has not been heard of for so long is taken for dead. */
export const ACK_WAIT_MILLISECONDS = 30_000;
const NOT_FOUND = 404;
/** How long a server may be away before whoever needs it fails. */
const PATIENCE_SECONDS = 600;

export interface QueueServerOptions {
  /** nats://[user:password@]host[:port], or tls:// */
  readonly url: string;
  /** What a task's worker may be silent for before another gets the task; default 30 s. Who opens a server first decides. */
  readonly ackWaitMilliseconds?: number | undefined;
  /** How long the server may be away before whoever needs it fails; default 600. */
  readonly patienceSeconds?: number | undefined;
  /** Is told of a server that is away. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** A NATS server with JetStream, as queue of tasks and results. It may go away and come back. */
export class QueueServer implements AsyncDisposable {
  readonly connection: NatsConnection;
  readonly jetstream: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly pictures: ObjectStore;
  readonly ackWaitMilliseconds: number;
  readonly #patience: Pick<RetryOptions, "patienceSeconds" | "onWarning">;

  /** @throws TamiasError `io` when there is no server, or none with JetStream */
  static async open({
    url,
    ackWaitMilliseconds = ACK_WAIT_MILLISECONDS,
    patienceSeconds = PATIENCE_SECONDS,
    onWarning = () => {},
  }: QueueServerOptions): Promise<QueueServer> {
    const connection = await connectTo(url);
    try {
      const manager = await jetstreamManager(connection);
      const limits = { storage: StorageType.File, max_age: nanos(KEPT_MILLISECONDS) };
      for (const [name, subjects] of [
        [TASKS_STREAM, "tamias.tasks.*"],
        [RESULTS_STREAM, "tamias.results.*"],
      ] as const)
        await manager.streams.add({
          ...limits,
          name,
          subjects: [subjects],
          retention: RetentionPolicy.Workqueue,
        });
      const { config } = await workersConsumer(manager, ackWaitMilliseconds);
      const client = jetstream(connection);
      const pictures = await new Objm(client).create(PICTURES_BUCKET, {
        storage: StorageType.File,
        ttl: nanos(KEPT_MILLISECONDS),
      });
      return new QueueServer(
        { connection, jetstream: client, manager, pictures, ackWaitMilliseconds: millis(config.ack_wait!) },
        { patienceSeconds, onWarning },
      );
    } catch (cause) {
      await connection.close();
      throw new TamiasError(
        "io",
        `The NATS server at ${hostOf(url)} is no queue (${(cause as Error).message}).`,
        {
          hint: "It needs JetStream (nats-server -js) and room for file storage.",
          cause,
        },
      );
    }
  }

  private constructor(
    parts: Pick<QueueServer, "connection" | "jetstream" | "manager" | "pictures" | "ackWaitMilliseconds">,
    patience: Pick<RetryOptions, "patienceSeconds" | "onWarning">,
  ) {
    this.connection = parts.connection;
    this.jetstream = parts.jetstream;
    this.manager = parts.manager;
    this.pictures = parts.pictures;
    this.ackWaitMilliseconds = parts.ackWaitMilliseconds;
    this.#patience = patience;
  }

  /**
   * Repeats what fails while the server is away.
   * @param what as in "The task cannot be published"
   * @throws TamiasError `io` when it stays away or will refuse the same for ever; `aborted`
   */
  retry<T>(what: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return retry(work, { what, signal, ...this.#patience });
  }

  /**
   * Stores a message, once, however often the server goes away meanwhile.
   * @param messageId what the server knows repetitions by
   * @throws TamiasError as `retry`
   */
  async publish(subject: string, message: object, messageId: string, signal: AbortSignal): Promise<void> {
    await this.retry(`${subject} cannot be published`, signal, () =>
      this.jetstream.publish(subject, JSON.stringify(message), { msgID: messageId }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.close();
  }
}

/** What all workers fetch from. It stays as whoever came first made it. */
async function workersConsumer(
  manager: JetStreamManager,
  ackWaitMilliseconds: number,
): Promise<ConsumerInfo> {
  try {
    return await manager.consumers.info(TASKS_STREAM, WORKERS_CONSUMER);
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || error.status !== NOT_FOUND) throw error;
    return manager.consumers.add(TASKS_STREAM, {
      durable_name: WORKERS_CONSUMER,
      ack_policy: AckPolicy.Explicit,
      ack_wait: nanos(ackWaitMilliseconds),
    });
  }
}

async function connectTo(url: string): Promise<NatsConnection> {
  if (!URL.canParse(url) || !/^(nats|tls):$/.test(new URL(url).protocol))
    throw new TamiasError("bad_input", `"${url}" is no address of a queue.`, {
      hint: "Write nats://host:4222, with nats://user:password@ where the server asks for it.",
    });
  const { protocol, host, username, password } = new URL(url);
  try {
    return await connect({
      servers: host,
      ...(username ? { user: decodeURIComponent(username), pass: decodeURIComponent(password) } : {}),
      ...(protocol === "tls:" ? { tls: {} } : {}),
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
    });
  } catch (cause) {
    throw new TamiasError("io", `There is no NATS server at ${host} (${(cause as Error).message}).`, {
      cause,
    });
  }
}

/** Without a password. */
function hostOf(url: string): string {
  return new URL(url).host;
}

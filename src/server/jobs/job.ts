import type { PictureFormat } from "../../media/encode-picture.ts";
import type { GenerateOptions } from "../../pipeline/options.ts";
import { MessageLog } from "./message-log.ts";
import type { LastMessage } from "./messages.ts";

export const priorities = ["low", "normal", "high"] as const;
export type Priority = (typeof priorities)[number];

export interface Encoding {
  readonly format: PictureFormat;
  /** Of JPEG and WebP, 0..100. */
  readonly quality: number;
}

/** One picture to make, every value checked. */
export interface JobRequest {
  readonly options: Omit<GenerateOptions, "signal"> & { readonly steps: number };
  /** Which policy, in a word that metrics may count by. */
  readonly policy: string;
  readonly output: Encoding;
  readonly preview: Encoding;
  readonly priority: Priority;
  /** What becomes of the job when nobody who asked for it listens any more. */
  readonly onDisconnect: "cancel" | "continue";
}

export type JobState = "queued" | "running" | "succeeded" | "failed" | "cancelled";

/** Why a job ends before its picture is made. */
export type Stop =
  | { readonly type: "cancelled"; readonly reason: string }
  | { readonly type: "error"; readonly code: string; readonly message: string; readonly retry: boolean };

const stateOf = { result: "succeeded", cancelled: "cancelled", error: "failed" } as const;

/** A request on its way: waiting, running, ended. It ends exactly once, in its log's last message. */
export class Job {
  readonly id = `job_${crypto.randomUUID().replaceAll("-", "")}`;
  /** The name of the API key that asked for it. */
  readonly owner: string;
  readonly request: JobRequest;
  readonly log = new MessageLog();
  readonly createdAt = Date.now();
  /** Resolves when the job has ended, whichever way. */
  readonly ended: Promise<void>;
  stepsDone = 0;
  readonly #stopSeconds: number;
  readonly #abort = new AbortController();
  readonly #resolveEnded: () => void;
  #state: JobState = "queued";
  #startedAt: number | undefined;
  #endedAt: number | undefined;
  #stop: Stop | undefined;
  #picture: Uint8Array | undefined;
  #patience: ReturnType<typeof setTimeout> | undefined;
  #holders = 0;

  /** @param stopSeconds how long an engine that is told to stop is waited for */
  constructor(request: JobRequest, owner: string, stopSeconds: number) {
    this.#stopSeconds = stopSeconds;
    this.request = request;
    this.owner = owner;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#resolveEnded = resolve;
  }

  get state(): JobState {
    return this.#state;
  }

  get startedAt(): number | undefined {
    return this.#startedAt;
  }

  get endedAt(): number | undefined {
    return this.#endedAt;
  }

  /** Fires when the job is to stop. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Why it is to stop, once somebody said so. */
  get stopped(): Stop | undefined {
    return this.#stop;
  }

  get isOver(): boolean {
    return this.#endedAt !== undefined;
  }

  begin(): void {
    this.#state = "running";
    this.#startedAt = Date.now();
  }

  /**
   * Ends a waiting job at once, a running one when the engine has stopped, which takes at most one step. The first
   * reason counts.
   */
  stop(stop: Stop): void {
    if (this.isOver || this.#stop) return;
    this.#stop = stop;
    if (this.#state === "queued") return this.end({ job: this.id, ...stop });
    this.#patience = setTimeout(() => this.end({ job: this.id, ...stop }), this.#stopSeconds * 1000);
    this.#abort.abort();
  }

  /** Memory that the job's picture and log hold. */
  get bytes(): number {
    return this.log.bytes;
  }

  /** The finished picture, encoded. */
  get picture(): Uint8Array | undefined {
    return this.#picture;
  }

  /** Ends it; once. */
  end(message: LastMessage, picture?: Uint8Array): void {
    if (this.isOver) return;
    clearTimeout(this.#patience);
    this.#picture = picture;
    this.#state = stateOf[message.type];
    this.#endedAt = Date.now();
    this.log.append(message, picture);
    this.#resolveEnded();
  }

  /**
   * Says that somebody who asked for the job is listening.
   * @returns to be called when they have gone; the last to go may cancel the job
   */
  hold(): () => void {
    this.#holders++;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holders--;
      if (this.#holders === 0 && this.request.onDisconnect === "cancel")
        this.stop({ type: "cancelled", reason: "the client went away" });
    };
  }
}

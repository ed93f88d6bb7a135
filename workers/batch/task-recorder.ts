import type { BatchEvent, BatchProgress } from "./events.ts";
import type { MadePicture } from "./make-picture.ts";
import { join } from "node:path";
import { writeFileAtomically } from "../../src/media/atomic-write.ts";
import type { Manifest } from "./manifest.ts";
import { Throughput } from "./throughput.ts";
import type { FailedRecord } from "./record.ts";
import type { TaskQueue } from "./task-queue.ts";

/** Where a batch stands and what is told of it; every end of a task is recorded here, whoever did the work. */
export class TaskRecorder {
  readonly #parts: RecorderParts;
  readonly #throughput: Throughput;
  readonly #pictures: number;
  #done: number;
  #failed = 0;

  constructor(parts: RecorderParts) {
    const { waiting, done } = parts.queue.counts();
    this.#parts = parts;
    this.#throughput = new Throughput(waiting);
    this.#pictures = waiting + done;
    this.#done = done;
  }

  step(id: string, step: number, steps: number): void {
    this.#throughput.step(id, (step + 1) / steps);
    this.#parts.tell({ type: "step", id, step, steps, ...this.#progress() });
  }

  /** The work on a task was stopped or lost. */
  forget(id: string): void {
    this.#throughput.forget(id);
  }

  /** @throws TamiasError `io`; the task is not done then */
  async done({ png, record }: MadePicture): Promise<void> {
    const { queue, manifest, out, tell } = this.#parts;
    // The file first: a task that is recorded as done has its picture.
    await writeFileAtomically(join(out, record.file), png);
    queue.end(record);
    await manifest.add(record);
    this.#throughput.end(record.id);
    this.#done++;
    tell({ type: "done", record, ...this.#progress() });
  }

  async failed(record: FailedRecord): Promise<void> {
    const { queue, manifest, tell } = this.#parts;
    queue.end(record);
    await manifest.add(record);
    this.#throughput.end(record.id);
    this.#failed++;
    tell({ type: "failed", record, ...this.#progress() });
  }

  #progress(): BatchProgress {
    return {
      pictures: this.#pictures,
      done: this.#done,
      failed: this.#failed,
      picturesPerSecond: this.#throughput.picturesPerSecond,
      secondsLeft: this.#throughput.secondsLeft,
    };
  }
}

export interface RecorderParts {
  readonly queue: TaskQueue;
  readonly manifest: Manifest;
  /** Folder for the pictures. */
  readonly out: string;
  readonly tell: (event: BatchEvent) => void;
}

import { Database, SQLiteError } from "bun:sqlite";
import { TamiasError } from "../../ffi/errors.ts";
import type { BatchTask } from "./job.ts";
import type { DoneRecord, FailedRecord } from "./record.ts";

const FORMAT = 1;

/** What there is of each kind of task. */
export interface TaskCounts {
  readonly waiting: number;
  readonly done: number;
  readonly failed: number;
}

interface TaskRow {
  id: string;
  line: number;
  model: string;
  options: string;
  losses: number;
}

/** A task taken from the queue. */
export interface ClaimedTask extends BatchTask {
  /** How many processes have died on it. */
  readonly losses: number;
}

/**
 * The record of a batch on one machine, an SQLite file: what is to be done, what is being done, and how it ended. It is
 * true after a crash at any moment: a task that was being done is waiting again.
 */
export class TaskQueue implements Disposable {
  readonly #database: Database;

  /** @throws TamiasError `io`; `bad_input` when another run holds the file or it is no queue */
  constructor(path: string) {
    try {
      this.#database = new Database(path, { create: true, strict: true });
      this.#database.run("PRAGMA locking_mode = EXCLUSIVE");
      this.#database.run("PRAGMA journal_mode = WAL");
      const [{ user_version: format }] = this.#database
        .query<{ user_version: number }, []>("PRAGMA user_version")
        .all() as [{ user_version: number }];
      if (format !== 0 && format !== FORMAT)
        throw new TamiasError("bad_input", `${path} was written by another version of Tamias.`);
      this.#database.run(`PRAGMA user_version = ${FORMAT}`);
      this.#database.run(`CREATE TABLE IF NOT EXISTS tasks (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        line INTEGER NOT NULL,
        model TEXT NOT NULL,
        options TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
        losses INTEGER NOT NULL DEFAULT 0,
        reading INTEGER NOT NULL,
        record TEXT
      )`);
      this.#database.run("CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)");
      this.#database.run("CREATE INDEX IF NOT EXISTS by_state ON tasks (state, sequence)");
    } catch (error) {
      throw explain(path, error);
    }
  }

  /**
   * Takes a jobs file's tasks in, as one change. Those that are done stay done; those that were being done, failed, or
   * lost their file wait again; those that are no longer asked for are dropped unless they are done.
   * @param read is given a function that takes all tasks of a job or, returning what is wrong, none
   * @param isKept whether a done task's file is still there
   */
  async take(
    read: (add: (job: readonly BatchTask[]) => TamiasError | undefined) => Promise<void>,
    isKept: (record: DoneRecord) => boolean,
  ): Promise<void> {
    const database = this.#database;
    const { last } = database
      .query<{ last: number }, []>("SELECT coalesce(max(reading), 0) AS last FROM tasks")
      .get()!;
    const reading = last + 1;
    database.run("BEGIN IMMEDIATE");
    try {
      database.run(
        "UPDATE tasks SET state = 'waiting', losses = 0, record = NULL WHERE state IN ('running', 'failed')",
      );
      const lost = [...this.records()].filter((record) => record.status === "done" && !isKept(record));
      for (const { id } of lost)
        database.run("UPDATE tasks SET state = 'waiting', record = NULL WHERE id = ?", [id]);
      await read((job) => this.#add(job, reading));
      database.run("DELETE FROM tasks WHERE reading <> ? AND state <> 'done'", [reading]);
      database.run("COMMIT");
    } catch (error) {
      database.run("ROLLBACK");
      throw error;
    }
  }

  #add(job: readonly BatchTask[], reading: number): TamiasError | undefined {
    const find = this.#database.query<
      { line: number; model: string; options: string; reading: number; state: string },
      [string]
    >("SELECT line, model, options, reading, state FROM tasks WHERE id = ?");
    this.#database.run("SAVEPOINT job");
    for (const { id, line, model, options } of job) {
      const asked = JSON.stringify(options);
      const found = find.get(id);
      const isTaken = found?.reading === reading;
      if (isTaken || (found?.state === "done" && (found.model !== model || found.options !== asked))) {
        this.#database.run("ROLLBACK TO job");
        return isTaken
          ? new TamiasError("bad_input", `The id "${id}" is already taken by line ${found.line}.`)
          : new TamiasError("bad_input", `The id "${id}" has a picture that was made with other settings.`, {
              hint: "Give the changed job another id.",
            });
      }
      this.#database.run(
        `INSERT INTO tasks (id, line, model, options, reading) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET line = excluded.line, model = excluded.model, options = excluded.options,
           reading = excluded.reading`,
        [id, line, model, asked, reading],
      );
    }
    this.#database.run("RELEASE job");
    return undefined;
  }

  /** The next task, preferably of the model that is open; undefined when none waits. */
  claim(openModel: string | undefined): ClaimedTask | undefined {
    const row = this.#database
      .query<TaskRow, [string | null]>(
        `UPDATE tasks SET state = 'running' WHERE sequence = (
           SELECT sequence FROM tasks WHERE state = 'waiting' ORDER BY model = ? DESC, sequence LIMIT 1
         ) RETURNING id, line, model, options, losses`,
      )
      .get(openModel ?? null);
    if (!row) return undefined;
    return { ...row, options: JSON.parse(row.options) as BatchTask["options"] };
  }

  /** Puts a task back whose work was stopped or lost. */
  release(id: string, losses: number): void {
    this.#database.run("UPDATE tasks SET state = 'waiting', losses = ? WHERE id = ?", [losses, id]);
  }

  end(record: DoneRecord | FailedRecord): void {
    this.#database.run("UPDATE tasks SET state = ?, record = ? WHERE id = ?", [
      record.status,
      JSON.stringify(record),
      record.id,
    ]);
  }

  isWaiting(id: string): boolean {
    const row = this.#database
      .query<{ state: string }, [string]>("SELECT state FROM tasks WHERE id = ?")
      .get(id);
    return row?.state === "waiting" || row?.state === "running";
  }

  /** Something to be known by later runs too. */
  note(name: string): string | undefined {
    return this.#database
      .query<{ value: string }, [string]>("SELECT value FROM notes WHERE name = ?")
      .get(name)?.value;
  }

  setNote(name: string, value: string): void {
    this.#database.run("INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)", [name, value]);
  }

  counts(): TaskCounts {
    const rows = this.#database
      .query<{ state: string; count: number }, []>(
        "SELECT state, count(*) AS count FROM tasks GROUP BY state",
      )
      .all();
    const of = (state: string) => rows.find((row) => row.state === state)?.count ?? 0;
    return { waiting: of("waiting") + of("running"), done: of("done"), failed: of("failed") };
  }

  /** How each ended task ended, in the order of the jobs. */
  *records(): Generator<DoneRecord | FailedRecord> {
    const rows = this.#database.query<{ record: string }, []>(
      "SELECT record FROM tasks WHERE record IS NOT NULL ORDER BY line, sequence",
    );
    for (const { record } of rows.iterate()) yield JSON.parse(record) as DoneRecord | FailedRecord;
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

function explain(path: string, error: unknown): unknown {
  if (!(error instanceof SQLiteError)) return error;
  if (error.code === "SQLITE_BUSY")
    return new TamiasError("bad_input", `Another run is at work on ${path}.`, {
      hint: "Wait for it, or choose another folder.",
      cause: error,
    });
  if (error.code === "SQLITE_NOTADB")
    return new TamiasError("bad_input", `${path} is not the queue of a batch.`, { cause: error });
  return new TamiasError("io", `${path} cannot be used (${error.message}).`, { cause: error });
}

import { type ArgumentType, Status, type SymbolName, symbols } from "../../../ffi/symbols.ts";
import type { Random } from "../support.ts";
import { argumentNames } from "../support/header.ts";
import { type Mutation, oddArgument, type Original, wrongArgument } from "./mutations.ts";
import { type RawArgument, RawLibrary } from "./raw-library.ts";
import { type ValidCall, validCalls } from "./valid-calls.ts";
import { World } from "./world.ts";

export interface AbuseReport {
  readonly calls: number;
  readonly complaints: readonly string[];
}

/** These cannot be called wrongly, or their error would replace the sentence it is about. */
const exempt: ReadonlySet<SymbolName> = new Set(["tamias_abi_version", "tamias_last_error"] as const);
/** They use up what they are given, so that a second time is wrong. */
const consuming: ReadonlySet<SymbolName> = new Set([
  "tamias_device_close",
  "tamias_memory_free",
  "tamias_stream_destroy",
  "tamias_event_destroy",
] as const);

/**
 * Calls every function wrongly, many times: first with one argument that cannot be right (the call must fail, say where,
 * and change nothing), then with several odd ones (it may do anything but crash or write elsewhere).
 */
export async function abuseCalls(
  random: Random,
  rounds: number,
  log: (line: string) => void,
): Promise<AbuseReport> {
  const abuse = new Abuse(await World.open(), await argumentNames(), random, log);
  const names = (Object.keys(symbols) as SymbolName[]).filter((name) => !exempt.has(name));
  for (const name of names) abuse.wrongCalls(name, rounds);
  abuse.expectUnchanged();
  for (const name of names) abuse.optionalArguments(name);
  for (const name of names) if (!consuming.has(name)) abuse.oddCalls(name, rounds);
  for (const name of names)
    if (name !== "tamias_device_close") abuse.expectValid(name, "after all wrong calls");
  abuse.expectGuards();
  return abuse;
}

class Abuse implements AbuseReport {
  readonly #world: World;
  readonly #names: ReadonlyMap<SymbolName, readonly string[]>;
  readonly #random: Random;
  readonly #log: (line: string) => void;
  readonly #library = new RawLibrary();
  readonly #valid: Record<SymbolName, () => ValidCall>;
  readonly complaints: string[] = [];
  calls = 0;

  constructor(
    world: World,
    names: ReadonlyMap<SymbolName, readonly string[]>,
    random: Random,
    log: (line: string) => void,
  ) {
    this.#world = world;
    this.#names = names;
    this.#random = random;
    this.#log = log;
    this.#valid = validCalls(world);
  }

  /** One wrong argument at a time. */
  wrongCalls(name: SymbolName, rounds: number): void {
    const valid = this.#valid[name]();
    const originals = this.#originals(name, valid);
    for (let round = 0; round < rounds; round++) {
      const at = this.#random.integer(0, originals.length - 1);
      const original = originals[at];
      const mutation = original && wrongArgument(original, this.#world, this.#random);
      if (!mutation) continue;
      const argument = this.#names.get(name)?.[at] ?? "";
      const what = `${name}, ${argument} = ${mutation.what}`;
      const status = this.#call(name, valid.args.with(at, mutation.value), what);
      if (status === Status.ok) this.complaints.push(`${what}: accepted`);
      // What cannot be read is named by its path, what cannot be had by its bytes.
      else if (status === Status.io || status === Status.outOfMemory) this.#checkSentence(name, "", what);
      else this.#checkSentence(name, argument, what);
    }
  }

  /** What the table calls optional may be absent; the rest of a call may then not fit, but is all that is refused. */
  optionalArguments(name: SymbolName): void {
    const types: readonly ArgumentType[] = symbols[name];
    types.forEach((type, at) => {
      if (type !== "tensor?") return;
      const argument = this.#names.get(name)?.[at] ?? "";
      const what = `${name}, ${argument} = NULL`;
      const status = this.#call(name, this.#valid[name]().args.with(at, null), what);
      const sentence = status === Status.ok ? "" : this.#library.lastError();
      if (sentence.endsWith(`${argument} is NULL`)) this.complaints.push(`${what}: ${sentence}`);
    });
  }

  /** Several arguments that fit neither the call nor each other. */
  oddCalls(name: SymbolName, rounds: number): void {
    const valid = this.#valid[name]();
    const originals = this.#originals(name, valid);
    for (let round = 0; round < rounds; round++) {
      const args = [...valid.args];
      const changes: string[] = [];
      for (let change = this.#random.integer(1, 4); change > 0; change--) {
        const at = this.#random.integer(0, originals.length - 1);
        const original = originals[at];
        if (!original) continue;
        const mutation: Mutation = oddArgument(original, valid.args, this.#world, this.#random);
        args[at] = mutation.value;
        changes.push(`${this.#names.get(name)?.[at]} = ${mutation.what}`);
      }
      const what = `${name}, ${changes.join(", ")}`;
      const status = this.#call(name, args, what);
      if (status !== Status.ok) this.#checkSentence(name, "", what);
    }
    this.#call(
      "tamias_stream_synchronize",
      [this.#world.stream.handle],
      `waiting for the odd calls of ${name}`,
    );
  }

  expectValid(name: SymbolName, when: string): void {
    const status = this.#call(name, this.#valid[name]().args, `${name} ${when}`);
    const wanted = name === "tamias_abi_version" ? 1 : Status.ok;
    if (status !== wanted) this.complaints.push(`${name} ${when}: ${this.#library.lastError()}`);
  }

  expectUnchanged(): void {
    for (const tensor of this.#world.changedTensors())
      this.complaints.push(`A refused call wrote to a tensor [${tensor.shape.join(", ")}].`);
  }

  expectGuards(): void {
    if (!this.#world.guardsAreWhole) this.complaints.push("Memory beside a tensor was overwritten.");
  }

  #originals(name: SymbolName, valid: ValidCall): Original[] {
    const types: readonly ArgumentType[] = symbols[name];
    const names = this.#names.get(name) ?? [];
    return types.map((type, at) => ({
      type,
      value: valid.args[at] ?? null,
      wrong: valid.wrong[names[at] ?? ""] ?? [],
    }));
  }

  #call(name: SymbolName, args: readonly RawArgument[], what: string): number {
    this.#log(what);
    this.calls++;
    return this.#library.call(name, args);
  }

  #checkSentence(name: SymbolName, argument: string, what: string): void {
    const sentence = this.#library.lastError();
    const short = name.replace("tamias_", "");
    if (!new RegExp(`\\b${short}\\b`).test(sentence))
      this.complaints.push(`${what}: the function is not in "${sentence}"`);
    if (!new RegExp(`\\b${argument}\\b`).test(sentence))
      this.complaints.push(`${what}: the argument is not in "${sentence}"`);
  }
}

import { TamiasError } from "../../ffi/errors.ts";

/** Where text tokens stand in the sequence that self-attention sees; `apart`: in none of it. */
export type TextPosition = "first" | "last" | "apart";

/** A run's text tokens, as its plan and its masks need to know them. */
export interface TextShape {
  readonly textTokens: number;
  /** Default: first. */
  readonly textPosition?: TextPosition | undefined;
  /** Where text is masked: how many of its tokens, from its start, may be attended to; the others are no keys. */
  readonly maskedText?: number | undefined;
}

/** Which rows and columns of self-attention are text. */
export class TextTokens {
  /** Text tokens among the queries and among the keys. */
  readonly queries: number;
  readonly keys: number;
  readonly #isLast: boolean;

  /** @throws TamiasError `bad_input` when more text is left by the mask than there is */
  constructor({ textTokens, textPosition = "first", maskedText = textTokens }: TextShape) {
    if (maskedText > textTokens)
      throw new TamiasError("bad_input", `Of ${textTokens} text tokens the mask cannot leave ${maskedText}.`);
    const isApart = textPosition === "apart";
    this.queries = isApart ? 0 : textTokens;
    this.keys = isApart ? 0 : maskedText;
    this.#isLast = textPosition === "last";
  }

  /** Marks the keys that are text in U8 [keys]. */
  markKeys(marks: Uint8Array): void {
    const start = this.#isLast ? marks.length - this.keys : 0;
    marks.fill(1, start, start + this.keys);
  }

  /** Marks the groups of `group` neighbouring queries that hold text, U8 [groups]. */
  markGroups(queries: number, group: number): Uint8Array {
    const groups = new Uint8Array(Math.ceil(queries / group));
    if (this.queries === 0) return groups;
    if (this.#isLast) groups.fill(1, Math.floor((queries - this.queries) / group));
    else groups.fill(1, 0, Math.ceil(this.queries / group));
    return groups;
  }
}

/** One group's scores and the rules that hold whatever they are. */
export interface Selection {
  readonly scores: Float64Array;
  readonly capacity: number;
  /** Columns that are chosen first. */
  readonly always: ReadonlySet<number>;
}

/** Columns in the order in which a selection takes them: always-columns, best score, lower column; NaN is worst. */
export function inOrder({ scores, always }: Selection): number[] {
  const rank = (column: number) => (always.has(column) ? 0 : Number.isNaN(scores[column]) ? 2 : 1);
  return Array.from(scores, (_, column) => column).toSorted((a, b) => {
    if (rank(a) !== rank(b)) return rank(a) - rank(b);
    const [left, right] = [scores[a] ?? NaN, scores[b] ?? NaN];
    return rank(a) === 1 && left !== right ? (right > left ? 1 : -1) : a - b;
  });
}

/** The k best columns, always-columns included; more where these alone are more. */
export function topK(selection: Selection, k: number): number[] {
  return take(selection, Math.max(k, selection.always.size));
}

/** The fewest columns whose non-negative scores reach `mass` of their sum, between `minimum` and `maximum`. */
export function coverMass(
  selection: Selection,
  mass: number,
  { minimum, maximum }: { minimum: number; maximum: number },
): number[] {
  const weight = (column: number) => Math.max(0, selection.scores[column] || 0);
  const order = inOrder(selection);
  const goal = mass * order.reduce((sum, column) => sum + weight(column), 0);
  let covered = 0;
  let count = 0;
  for (const column of order) {
    if (count >= selection.always.size && covered >= goal) break;
    covered += weight(column);
    count++;
  }
  return take(selection, Math.max(Math.min(Math.max(count, minimum), maximum), selection.always.size));
}

/** The first `count` columns in order that fit, ascending. */
function take(selection: Selection, count: number): number[] {
  return inOrder(selection)
    .slice(0, Math.min(count, selection.capacity))
    .toSorted((a, b) => a - b);
}

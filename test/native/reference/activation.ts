/** The activations in the ABI's order: a function's index is its code. */
export const activations: readonly { readonly name: string; readonly apply: (x: number) => number }[] = [
  { name: "identity", apply: (x) => x },
  { name: "silu", apply: (x) => x * sigmoid(x) },
  {
    name: "gelu tanh",
    apply: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  },
  { name: "gelu erf", apply: (x) => 0.5 * x * erfc(-x / Math.SQRT2) },
  { name: "quick gelu", apply: (x) => x * sigmoid(1.702 * x) },
];

export function activate(code: number, x: number): number {
  const activation = activations[code];
  if (!activation) throw new RangeError(`There is no activation ${code}.`);
  return activation.apply(x);
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** 1 - erf(x), without cancellation for large x. */
function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2) return 1 - erfSeries(x);
  if (x > 28) return 0;
  // Laplace's continued fraction, from the inside out.
  let fraction = x;
  for (let term = 60; term >= 1; term--) fraction = x + term / 2 / fraction;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction);
}

function erfSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 60; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

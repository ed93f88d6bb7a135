import type { Random } from "./random.ts";

/** The parts of JSON Schema that the server's document uses. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly multipleOf?: number;
  readonly example?: unknown;
}

/** A value that a schema describes, most of the time. */
export function likelyValue(schema: Schema, random: Random, resolve: (ref: string) => Schema): unknown {
  if (schema.$ref) return likelyValue(resolve(schema.$ref), random, resolve);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return random.pick(schema.enum);
  if (schema.example !== undefined && random.chance(0.7)) return schema.example;
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return likelyValue(random.pick(choices), random, resolve);
  const type = typeof schema.type === "string" ? schema.type : random.pick(schema.type ?? ["string"]);
  switch (type) {
    case "boolean":
      return random.chance(0.5);
    case "integer":
    case "number": {
      const { minimum = 0, maximum = 100, multipleOf = 1 } = schema;
      const most = Math.min(maximum, minimum + 60);
      const value = minimum + random.next() * (most - minimum);
      return type === "integer" ? Math.ceil(value / multipleOf) * multipleOf : value;
    }
    case "array":
      return Array.from({ length: random.below(3) }, () => likelyValue(schema.items ?? {}, random, resolve));
    case "object":
      return Object.fromEntries(
        Object.entries(schema.properties ?? {})
          .filter(([name]) => schema.required?.includes(name) || random.chance(0.3))
          .map(([name, property]) => [name, likelyValue(property, random, resolve)]),
      );
    case "null":
      return null;
    default:
      return random.pick(["x", "a red fox", "64x64", "balanced", "acorn-image"]);
  }
}

const nested = (depth: number): unknown => JSON.parse(`${'{"a":['.repeat(depth)}${"]}".repeat(depth)}`);

/** Values that break programs. */
export const nasty: readonly unknown[] = [
  null,
  true,
  "",
  " ",
  "\u0000",
  "\ud800",
  "\udc00\ud800",
  "\u202e\ufeff\u200d",
  "e\u0301".repeat(500),
  "👩‍👩‍👧‍👦".repeat(200),
  "Z̷̢̛".repeat(100),
  "x".repeat(100_000),
  "'; DROP TABLE jobs; --",
  "../../../../etc/passwd",
  "%00%0d%0a",
  "<script>alert(1)</script>",
  "__proto__",
  "constructor",
  "NaN",
  "1e999",
  "99999999999999999999x1",
  "-64x64",
  "0x0",
  "64x",
  "٦٤x٦٤",
  -1,
  0,
  -0,
  0.1,
  1e-320,
  1e308,
  2 ** 53,
  2 ** 53 + 2,
  -(2 ** 63),
  [],
  [[]],
  {},
  Array.from({ length: 2000 }, () => 0),
  nested(200),
  { __proto__: null, toString: 1, constructor: { prototype: {} } },
  { attention: { select: { kind: "topK", density: 1e308 }, refresh: { every: 0 } }, mlp: null },
  { attention: null, mlp: null, name: "x".repeat(10_000) },
];

/** Bodies that are no sound JSON, or not what they seem. */
export function brokenBodies(sound: string): string[] {
  return [
    "",
    " ",
    "{",
    "null",
    "[]",
    '"prompt"',
    "0",
    sound.slice(0, sound.length / 2),
    `${sound}}`,
    `${sound}${sound}`,
    `\ufeff${sound}`,
    sound.replaceAll('"', "'"),
    sound.replace("{", '{"prompt":"a","prompt":5,'),
    sound.replace("{", '{"__proto__":{"prompt":"x"},'),
    `{"prompt":1${"0".repeat(5000)}}`,
    `{"prompt":-1e${"9".repeat(400)}}`,
    `${"[".repeat(50_000)}`,
    `${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`,
    "{\u0000}",
    "\u0000\u0001\u0002",
    "prompt=x&steps=4",
    "<?xml version='1.0'?><prompt>x</prompt>",
  ];
}

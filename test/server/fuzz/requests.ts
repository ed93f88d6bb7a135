import { multipart, uploads } from "./pictures.ts";
import type { Random } from "./random.ts";
import { brokenBodies, likelyValue, nasty, type Schema } from "./values.ts";

interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: Schema }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
}

export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

const contentTypes = [
  "application/json",
  "application/json; charset=utf-16",
  "text/plain",
  "application/x-www-form-urlencoded",
  "multipart/form-data",
  "multipart/form-data; boundary=",
  "application/vnd.msgpack",
  "image/png",
  "",
  "nonsense",
];
const accepts = [
  "application/json",
  "text/event-stream",
  "application/vnd.msgpack",
  "image/png",
  "image/webp;q=0.5, */*",
  "*/*",
  "x".repeat(2000),
  ",,;;q=",
];
const pathWords = [
  "job_0",
  "acorn-image",
  "acorn%2dimage",
  "..%2f..",
  "%",
  "%ff%fe",
  "😀",
  "a b",
  "x".repeat(3000),
];

/** Any request, near enough to what the document describes to reach deep, and wrong somewhere. */
export function makeRequest(document: OpenApiDocument, random: Random): Request {
  const resolve = (ref: string): Schema => document.components.schemas[ref.split("/").at(-1)!]!;
  const operations = Object.entries(document.paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ template, method, operation })),
  );
  // There is more to get wrong where there is a body.
  const withBody = operations.filter(({ operation }) => operation.requestBody);
  const { template, method, operation } = random.pick(random.chance(0.6) ? withBody : operations);
  let path = template.replaceAll(/\{\w+\}/g, () => encodeURI(random.pick(pathWords)));
  const headers = new Headers();
  for (const { name, in: place } of operation.parameters ?? []) {
    if (random.chance(0.5)) continue;
    const value = headerText(random.pick(nasty));
    if (place === "header") headers.set(name, value);
    if (place === "query") path += `?${name}=${encodeURIComponent(value)}`;
  }
  if (random.chance(0.7)) headers.set("accept", random.pick(accepts));
  if (random.chance(0.05)) path += random.pick(["/", "/..", "?a=%", "//", "/%00", "?".repeat(50)]);
  const verb = random.chance(0.03)
    ? random.pick(["PUT", "PATCH", "OPTIONS", "HEAD", "TRACEX"])
    : method.toUpperCase();
  const takesBody = verb !== "GET" && verb !== "HEAD";
  const url = `http://localhost${path}`;
  if (!takesBody) return new Request(url, { method: verb, headers });

  if (template.includes("edits") || template.includes("variations") || random.chance(0.02)) {
    const boundary = random.chance(0.8) ? "edge" : "other";
    headers.set("content-type", `multipart/form-data; boundary=${boundary}`);
    const file = random.pick(Object.values(uploads));
    return new Request(url, {
      method: verb,
      headers,
      body: new Blob([multipart(file, "edge", random.next())]),
    });
  }
  headers.set("content-type", random.chance(0.9) ? "application/json" : random.pick(contentTypes));
  if (headers.get("content-type") === "") headers.delete("content-type");
  const schema = operation.requestBody?.content["application/json"]?.schema ?? {};
  return new Request(url, {
    method: verb,
    headers,
    body: makeBody(likelyValue(schema, random, resolve), random),
  });
}

function makeBody(likely: unknown, random: Random): string {
  if (random.chance(0.15)) return random.pick(brokenBodies(JSON.stringify(likely)));
  if (typeof likely !== "object" || likely === null) return JSON.stringify(likely);
  const fields = Object.entries(likely);
  const changes = random.below(3);
  for (let change = 0; change < changes; change++) {
    const at = random.below(fields.length + 1);
    const name = fields[at]?.[0] ?? random.pick(["polcy", "", "__proto__", "a".repeat(500), "prompt\u0000"]);
    if (random.chance(0.2)) fields.splice(at, 1);
    else fields[at] = [name, random.pick(nasty)];
  }
  return `{${fields.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`;
}

/** What a header can hold of a value. */
function headerText(value: unknown): string {
  return String(JSON.stringify(value) ?? "")
    .replaceAll(/[^\x20-\x7e]/g, "?")
    .slice(0, 4000)
    .trim();
}

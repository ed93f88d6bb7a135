import type { OpenAPIHono } from "@hono/zod-openapi";
import type { ServerEnv } from "../http/context.ts";
import { FileCache, sendFile } from "./files.ts";

const HTML = "text/html; charset=utf-8";
const CSS = "text/css; charset=utf-8";
const SCRIPT = "text/javascript; charset=utf-8";

/** Nothing from elsewhere; Swagger's page sets styles on its elements. */
const policy = (styles: string) =>
  `default-src 'none'; script-src 'self'; style-src ${styles}; img-src 'self' blob: data:; connect-src 'self'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const pageHeaders = {
  "content-security-policy": policy("'self'"),
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};
const docsHeaders = { ...pageHeaders, "content-security-policy": policy("'self' 'unsafe-inline'") };

const own = (name: string) => new URL(`web/${name}`, import.meta.url);
const fromPackage = (specifier: string) => new URL(import.meta.resolve(specifier));

/** The modules that the page is made of; each is one file in `web/`. */
const modules = [
  "compare.js",
  "controls.js",
  "difference.js",
  "heat-map.js",
  "history.js",
  "main.js",
  "picture-view.js",
  "run.js",
  "step-chart.js",
];

/** The web page at `/`, the documentation at `/docs`, and what both are made of. All of it comes from this server. */
export function addPage(app: OpenAPIHono<ServerEnv>): void {
  const cache = new FileCache();
  app.get("/", async (c) => sendFile(c, await cache.get(own("index.html")), HTML, pageHeaders));
  app.get("/assets/style.css", async (c) => sendFile(c, await cache.get(own("style.css")), CSS));
  app.get("/assets/icon.svg", async (c) => sendFile(c, await cache.get(own("icon.svg")), "image/svg+xml"));
  for (const name of modules)
    app.get(`/assets/${name}`, async (c) => sendFile(c, await cache.get(own(name)), SCRIPT));

  // `tamias/client` as programs import it, but for where its one dependency is.
  const client = new URL("../../client/index.js", import.meta.url);
  app.get("/assets/client.js", async (c) => {
    const file = await cache.get(client, (text) =>
      text.replace('"@msgpack/msgpack"', '"./msgpack/index.mjs"'),
    );
    return sendFile(c, file, SCRIPT);
  });
  const msgpack = new URL("./", fromPackage("@msgpack/msgpack/dist.esm/index.mjs"));
  app.get("/assets/msgpack/:path{[A-Za-z0-9]+(?:/[A-Za-z0-9]+)?\\.mjs}", async (c) => {
    try {
      return sendFile(c, await cache.get(new URL(c.req.param("path"), msgpack)), SCRIPT);
    } catch {
      return c.notFound();
    }
  });

  app.get("/docs", async (c) => sendFile(c, await cache.get(own("docs.html")), HTML, docsHeaders));
  app.get("/docs/start.js", async (c) => sendFile(c, await cache.get(own("docs.js")), SCRIPT));
  for (const [name, type] of [
    ["swagger-ui-bundle.js", SCRIPT],
    ["swagger-ui.css", CSS],
  ] as const)
    app.get(`/docs/${name}`, async (c) =>
      sendFile(c, await cache.get(fromPackage(`swagger-ui-dist/${name}`)), type),
    );
}

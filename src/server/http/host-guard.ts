const loopback = new Set(["127.0.0.1", "localhost", "[::1]"]);

/**
 * On a loopback address, answers only requests that name it: a page elsewhere whose name was made to point here does
 * not.
 * @returns a refusal, or undefined to go on
 */
export function hostGuard(boundTo: string): (request: Request) => Response | undefined {
  const isLoopback = loopback.has(boundTo) || boundTo === "::1";
  return (request) => {
    if (!isLoopback || loopback.has(new URL(request.url).hostname)) return undefined;
    return Response.json(
      {
        type: "about:blank",
        title: "Misdirected Request",
        status: 421,
        code: "wrong_host",
        detail: "This server answers to localhost only.",
      },
      { status: 421, headers: { "content-type": "application/problem+json" } },
    );
  };
}

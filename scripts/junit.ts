/** The counts of one test run. */
export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * Reads the totals of a JUnit report as `bun test` writes it.
 * @throws Error when the text has no `<testsuites>` element with counts
 */
export function readJunitCounts(xml: string): TestCounts {
  const attributes = /<testsuites\b([^>]*)>/.exec(xml)?.[1];
  if (attributes === undefined) throw new Error("The JUnit report has no <testsuites> element.");
  const count = (name: string): number => {
    const digits = new RegExp(`\\b${name}="(\\d+)"`).exec(attributes)?.[1];
    if (digits === undefined) throw new Error(`The JUnit report does not say how many "${name}" there were.`);
    return Number(digits);
  };
  const failed = count("failures");
  const skipped = count("skipped");
  return { passed: count("tests") - failed - skipped, failed, skipped };
}

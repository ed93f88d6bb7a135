import { expect, test } from "bun:test";
import { readJunitCounts } from "../../scripts/junit.ts";

test("counts come from the report's totals", () => {
  const xml = `<?xml version="1.0"?>
<testsuites name="bun test" tests="9" assertions="20" failures="2" skipped="3" time="0.1">
  <testsuite name="a" tests="1" failures="0" skipped="0"></testsuite>
</testsuites>`;
  expect(readJunitCounts(xml)).toEqual({ passed: 4, failed: 2, skipped: 3 });
});

test("a report without totals is an error", () => {
  expect(() => readJunitCounts("<nothing/>")).toThrow("testsuites");
  expect(() => readJunitCounts('<testsuites tests="1">')).toThrow("failures");
});

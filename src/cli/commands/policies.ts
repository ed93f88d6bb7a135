import { Command } from "commander";
import { policies } from "../../delta/policies/index.ts";
import type { CliContext } from "../context.ts";
import { exitCode } from "../exit-code.ts";
import { table } from "../format.ts";

/** `tamias policies`: the ways to spend less than dense. */
export function policiesCommand(context: CliContext, finish: (code: number) => void): Command {
  return new Command("policies")
    .description("List the policies, from the most faithful to the fastest")
    .option("--json", "print one JSON object on standard output")
    .action(({ json }: { json?: boolean }) => {
      const rows = policies.map(({ name, description }) => ({ name, description }));
      if (json) context.stdout.write(`${JSON.stringify({ policies: rows }, null, 2)}\n`);
      else context.stdout.write(table(rows.map(({ name, description }) => [name, description])));
      finish(exitCode.done);
    });
}

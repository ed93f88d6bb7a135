import { TamiasError } from "../../ffi/errors.ts";

/**
 * Checks that a path found in a downloaded file stays inside that file's folder.
 * @param where names the file that holds the path, for the error message
 * @throws TamiasError `bad_weights` for an absolute path, `..`, a backslash, a drive or a NUL
 */
export function checkRelativePath(path: string, where: string): void {
  const segments = path.split("/");
  const isSafe =
    !/[\\:\0]/.test(path) &&
    segments.every((segment) => segment !== "" && segment !== "." && segment !== "..");
  if (!isSafe) {
    throw new TamiasError(
      "bad_weights",
      `${where} names the file ${JSON.stringify(path)}, outside its folder.`,
    );
  }
}

// Makes a fresh clone ready: npm packages, Bun, system packages, native library.
// Runs under plain Node, because Bun is one of the things it installs. Does nothing that is done.
//   node scripts/setup.mjs [--packages-only | --for-tests] [--browser]
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const bun = join(root, "node_modules", ".bin", "bun");
const depsFolder = join(root, "build", "deps");
const toolsFolder = join(root, "build", "tools");
const systemPackages = ["g++", "make", "libdnnl-dev"];
const howToInstall = `Install them with: apt-get install ${systemPackages.join(" ")} (as root), then run this again.`;

function say(text) {
  console.log(`set-up: ${text}`);
}

/** Runs a command; its output is shown only if `show` is set. Returns the exit status and the output. */
function run(command, args, { show = false, cwd = root, input, env } = {}) {
  const result = spawnSync(command, args, {
    cwd,
    input,
    env: { ...process.env, ...env },
    encoding: "utf8",
    stdio: show ? ["ignore", "inherit", "inherit"] : "pipe",
  });
  return { ok: result.status === 0, text: `${result.stdout ?? ""}${result.stderr ?? ""}` };
}

function stop(sentence) {
  console.error(`set-up: ${sentence}`);
  process.exit(1);
}

/** Whether node_modules holds exactly what package-lock.json asks for on this platform. */
function npmPackagesAreCurrent() {
  const readLock = (path) => JSON.parse(readFileSync(join(root, path), "utf8")).packages;
  try {
    const wanted = readLock("package-lock.json");
    const installed = readLock("node_modules/.package-lock.json");
    return Object.entries(wanted).every(([path, entry]) =>
      path === ""
        ? true
        : installed[path]
          ? installed[path].version === entry.version && existsSync(join(root, path))
          : entry.optional === true,
    );
  } catch {
    return false;
  }
}

function installNpmPackages() {
  if (!npmPackagesAreCurrent()) {
    say("installing the npm packages");
    const flags = [
      "ci",
      "--include=dev",
      "--include=optional",
      "--no-audit",
      "--no-fund",
      "--loglevel=error",
    ];
    if (!run("npm", flags, { show: true }).ok) stop("`npm ci` failed; its message is above.");
  }
  if (run(bun, ["--version"]).ok) return;
  // npm may be set not to run install scripts; Bun's only puts the downloaded binary in its place.
  say("placing the Bun binary");
  run(process.execPath, [join("node_modules", "bun", "install.js")]);
  const placed = run(bun, ["--version"]);
  if (!placed.ok) stop(`Bun does not start on this machine: ${placed.text.trim().split("\n")[0]}`);
}

const have = (command) => run(command, ["--version"]).ok;

/** Whether oneDNN can be compiled against and linked, from the system or from build/deps. */
function dnnlLinks() {
  const usr = join(depsFolder, "usr");
  const unpacked = existsSync(usr)
    ? [`-I${join(usr, "include")}`, `-L${join(usr, "lib", "x86_64-linux-gnu")}`]
    : [];
  const folder = mkdtempSync(join(tmpdir(), "tamias-"));
  try {
    const program = "#include <dnnl.h>\nint probe() { return dnnl_version()->major; }\n";
    const flags = [
      "-x",
      "c++",
      "-",
      "-shared",
      "-fPIC",
      "-o",
      join(folder, "probe.so"),
      ...unpacked,
      "-ldnnl",
    ];
    return run(process.env.CXX ?? "g++", flags, { input: program }).ok;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function installAsRoot(packages) {
  const isRoot = process.getuid?.() === 0;
  if (!isRoot && !run("sudo", ["-n", "true"]).ok) return false;
  const aptGet = (...args) => {
    const command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-y", "-qq", ...args];
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    return isRoot
      ? run(command[0], command.slice(1), { env })
      : run("sudo", ["-n", "DEBIAN_FRONTEND=noninteractive", ...command]);
  };
  say(`installing ${packages.join(", ")} with apt-get`);
  const install = () => aptGet("install", "--no-install-recommends", ...packages);
  if (install().ok) return true;
  // The package lists may be missing or old.
  aptGet("update");
  const second = install();
  if (!second.ok) console.error(second.text.trim());
  return second.ok;
}

/** Without root but with a compiler: unpacks oneDNN and the OpenCL loader it links to into build/deps. */
function unpackDnnlLocally() {
  say("unpacking oneDNN into build/deps (no right to install system packages)");
  rmSync(depsFolder, { recursive: true, force: true });
  mkdirSync(depsFolder, { recursive: true });
  const packages = ["libdnnl2", "libdnnl-dev", "ocl-icd-libopencl1"];
  if (!run("apt-get", ["download", ...packages], { cwd: depsFolder }).ok) return false;
  const archives = readdirSync(depsFolder).filter((name) => name.endsWith(".deb"));
  return archives.every((name) => run("dpkg-deb", ["-x", name, "."], { cwd: depsFolder }).ok);
}

function installSystemPackages() {
  const compilers = () => have("g++") && have("make");
  if (compilers() && dnnlLinks()) return;
  const haveApt = have("apt-get");
  if (haveApt && installAsRoot(systemPackages) && compilers() && dnnlLinks()) return;
  if (!compilers()) stop(`The system packages ${systemPackages.join(", ")} are needed. ${howToInstall}`);
  if (haveApt && unpackDnnlLocally() && dnnlLinks()) return;
  rmSync(depsFolder, { recursive: true, force: true });
  stop(`The library oneDNN (system package libdnnl-dev) is needed. ${howToInstall}`);
}

/** Chromium, for the tests of the web page only; without it they are skipped. */
function installBrowser() {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  if (names.some(have)) return;
  if (!(have("apt-get") && installAsRoot(["chromium"]) && have("chromium")))
    say("no Chromium could be installed; the web page's tests will be skipped");
}

function buildNativeLibrary() {
  const make = (...args) => ["--no-print-directory", "-C", "kernels", ...args];
  if (run("make", make("--question", "libraries")).ok) return;
  say("building the native library");
  if (!run("make", make("-j2"), { show: true }).ok)
    stop("The native library did not build; the message is above.");
}

/** The server that the queue's tests start themselves; unpacked, not installed, so that none runs as a service. */
function unpackNatsServer() {
  const unpacked = join(toolsFolder, "usr", "sbin", "nats-server");
  if (have("nats-server") || existsSync(unpacked) || !have("apt-get")) return;
  say("unpacking nats-server into build/tools for the tests");
  mkdirSync(toolsFolder, { recursive: true });
  const download = () => run("apt-get", ["download", "-qq", "nats-server"], { cwd: toolsFolder }).ok;
  // The package lists may be missing; only root can fetch them.
  if (!download() && run("apt-get", ["update", "-qq"]).ok) download();
  const archive = readdirSync(toolsFolder).find((name) => name.endsWith(".deb"));
  if (archive && run("dpkg-deb", ["-x", archive, "."], { cwd: toolsFolder }).ok) return;
  say("nats-server could not be had; the tests that need it will be skipped");
}

const started = performance.now();
installNpmPackages();
if (!process.argv.includes("--packages-only")) {
  if (process.platform !== "linux" || process.arch !== "x64") {
    stop(`The native library is built for Linux on x86-64 only, not ${process.platform} on ${process.arch}.`);
  }
  installSystemPackages();
  buildNativeLibrary();
  if (process.argv.includes("--for-tests")) unpackNatsServer();
}
if (process.argv.includes("--browser")) installBrowser();
say(`ready (${((performance.now() - started) / 1000).toFixed(1)} s)`);

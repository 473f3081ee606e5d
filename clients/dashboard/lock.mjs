// Writes package-lock.json without addresses: it must install from any registry.
import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";

const npm = ["install", "--package-lock-only", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund"];
execFileSync("npm", npm, { stdio: "inherit" });
const lock = JSON.parse(await readFile("package-lock.json", "utf8"));
for (const entry of Object.values(lock.packages)) {
  delete entry.resolved;
  delete entry.funding;
}
await writeFile("package-lock.json", `${JSON.stringify(lock, null, 2)}\n`);

// Bundles the page into hashed files that may be cached for ever, and an
// index.html that names them. The gateway serves the folder as it is.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out =
  process.env.ASGARD_DASHBOARD_OUT ?? join(here, "../../services/asgard_server/gateway/static");
const assets = join(out, "assets");
const scriptLimit = 100_000;

const options = {
  absWorkingDir: here,
  entryPoints: ["src/main.tsx"],
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome109", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  entryNames: "[name]-[hash]",
  outdir: assets,
  metafile: true,
  legalComments: "none",
};

async function writeIndex(metafile) {
  const names = Object.keys(metafile.outputs).map((path) => basename(path));
  const script = names.find((name) => name.endsWith(".js"));
  const sheet = names.find((name) => name.endsWith(".css"));
  const icon = await readFile(join(here, "src/icon.svg"));
  const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`;
  await writeFile(join(assets, iconName), icon);
  const page = await readFile(join(here, "src/index.html"), "utf8");
  const html = page
    .replace("{{script}}", `/assets/${script}`)
    .replace("{{sheet}}", `/assets/${sheet}`)
    .replace("{{icon}}", `/assets/${iconName}`);
  await writeFile(join(out, "index.html"), html);
  const keep = new Set([script, sheet, iconName]);
  for (const name of await readdir(assets)) {
    if (!keep.has(name)) await rm(join(assets, name));
  }
  const size = gzipSync(await readFile(join(assets, script)), { level: 6 }).length;
  console.log(`${script}: ${(size / 1000).toFixed(1)} kB gzip`);
  if (size > scriptLimit) throw new Error(`the script is over its limit of ${scriptLimit} bytes`);
}

await mkdir(assets, { recursive: true });
if (process.argv.includes("--watch")) {
  const index = {
    name: "index",
    setup: (build) =>
      build.onEnd((result) => (result.metafile ? writeIndex(result.metafile) : undefined)),
  };
  const context = await esbuild.context({ ...options, plugins: [index] });
  await context.watch();
} else {
  const result = await esbuild.build(options);
  await writeIndex(result.metafile);
}

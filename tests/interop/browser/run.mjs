// Runs the browser checks against PORTAL_URL. Exit code 0: all passed; 1: one failed; 2: not started right.
import { mkdirSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { bundle } from "./src/bundle.mjs";
import { launch } from "./src/chromium.mjs";
import { runConsole } from "./src/console.mjs";
import { runOauth } from "./src/oauth.mjs";
import { runPasskeys } from "./src/passkeys.mjs";
import { runReceipt } from "./src/receipt.mjs";
import { runTls } from "./src/tls.mjs";
import { runTour } from "./src/tour.mjs";

const CHECKS = {
  tour: runTour,
  console: runConsole,
  receipt: runReceipt,
  oauth: runOauth,
  passkeys: runPasskeys,
  tls: runTls,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { screenshots: { type: "string" } },
});
const { PORTAL_URL, PORTAL_OPERATOR_PASSWORD_FILE } = process.env;
const names = positionals.length ? positionals : Object.keys(CHECKS).filter((name) => name !== "tls" || PORTAL_URL?.startsWith("https:"));
if (!PORTAL_URL || !PORTAL_OPERATOR_PASSWORD_FILE || names.some((name) => !(name in CHECKS))) {
  console.error("usage: PORTAL_URL=… PORTAL_OPERATOR_PASSWORD_FILE=… node run.mjs [tour] [console] [receipt] [oauth] [passkeys] [tls] [--screenshots DIR]");
  process.exit(2);
}
if (values.screenshots) mkdirSync(values.screenshots, { recursive: true });

const settings = {
  origin: new URL(PORTAL_URL).origin,
  operatorPassword: readFileSync(PORTAL_OPERATOR_PASSWORD_FILE, "utf8").trim(),
  screenshots: values.screenshots,
  script: await bundle(),
};

const browser = await launch();
try {
  for (const name of names) {
    const start = performance.now();
    const figures = await CHECKS[name](browser, settings);
    console.log(JSON.stringify({ check: name, passed: true, seconds: (performance.now() - start) / 1000, ...figures }));
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
}

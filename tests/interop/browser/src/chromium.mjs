// Chromium, and contexts that notice what must not happen.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
    ],
  });
}

/**
 * Runs `act(page)` in a context of its own; fails on console errors, uncaught exceptions and
 * requests to any origin but `origin`.
 */
export async function inPage(browser, origin, options, act) {
  // Over TLS the authority is one of the portal's own, which the browser does not know.
  const ignoreHTTPSErrors = origin.startsWith("https:");
  const context = await browser.newContext({ locale: "en-GB", ignoreHTTPSErrors, ...options });
  const faults = [];
  context.on("console", (message) => {
    if (message.type() !== "error" || isLateIcon(message) || isRefusal(message)) return;
    faults.push(`console: ${message.text()} (${message.location().url})`);
  });
  context.on("weberror", (error) => faults.push(`exception: ${error.error().stack}`));
  context.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) faults.push(`external request: ${request.url()}`);
  });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const result = await act(page);
    assert.deepEqual(faults, [], "the page must stay free of errors and external requests");
    return result;
  } catch (error) {
    if (faults.length) console.error(faults.join("\n"));
    throw error;
  } finally {
    await context.close();
  }
}

// A sign-in that is refused is an answer; Chromium calls it an error.
function isRefusal(message) {
  return message.text().includes("status of 401") && /\/v1\/sessions(:refresh|:completeMfa)?$/.test(message.location().url);
}

// Chromium fetches the picture of the tab when it likes to, be it after the check has taken the network away.
function isLateIcon(message) {
  return message.text().includes("ERR_INTERNET_DISCONNECTED") && /\/assets\/icon-[^/]+\.svg$/.test(message.location().url);
}

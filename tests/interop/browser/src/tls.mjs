// Over TLS: which certificate the browser is shown, as the gateway counted it.
import assert from "node:assert/strict";
import { inPage } from "./chromium.mjs";

const HANDSHAKE = /^portal_tls_handshakes_total\{listener="edge",outcome="accepted",version="1.3",group="([^"]*)",signature="([^"]*)"\} (\d+)$/gm;

async function handshakes() {
  const answer = await fetch(`${process.env.PORTAL_ADMIN_URL}/metrics`);
  const counted = [...(await answer.text()).matchAll(HANDSHAKE)];
  return new Map(counted.map(([, group, signature, count]) => [`${group} ${signature}`, Number(count)]));
}

export async function runTls(browser, { origin }) {
  assert.ok(origin.startsWith("https:"), "run this by tests/tour/with_portal.py --tls");
  const before = await handshakes();
  await inPage(browser, origin, {}, async (page) => {
    const response = await page.goto(`${origin}/`);
    assert.equal(response.status(), 200);
    assert.equal(response.headers()["strict-transport-security"], "max-age=31536000");
    const keys = await page.evaluate(async () => (await fetch("/.well-known/jwks.json")).json());
    assert.ok(keys.keys.length >= 1);
  });
  const agreed = [...(await handshakes())].filter(([what, count]) => count > (before.get(what) ?? 0));
  assert.deepEqual(agreed.map(([what]) => what), ["X25519MLKEM768 ML-DSA-65"]);
  return { agreed: agreed[0][0], chromium: browser.version() };
}

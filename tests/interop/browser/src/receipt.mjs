// A receipt from the service, verified by the page of the console without any network; and what is not as it was signed.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { inPage } from "./chromium.mjs";

export async function runReceipt(browser, { origin, operatorPassword, script }) {
  const { receipt, keys } = await inPage(browser, origin, {}, async (page) => {
    await page.goto(`${origin}/`);
    await page.evaluate(script);
    const tag = randomBytes(4).toString("hex");
    return page.evaluate(([password, tag]) => globalThis.portal.receipt(password, tag), [operatorPassword, tag]);
  });
  return inPage(browser, origin, {}, async (page) => {
    await page.goto(`${origin}/verify.html`);
    // Whatever the page says from here on, it says by itself.
    await page.context().setOffline(true);
    const good = await verify(page, receipt, keys);
    assert.match(good.text, /^The receipt is valid; entry \d+ of a ledger of \d+\.$/);
    assert.equal(good.kind, "note");

    const forged = [
      ["content", bent(receipt, "cose", 200)],
      ["signature", bent(receipt, "cose", -1)],
      ["path or root", bent(receipt, "inclusion", -1)],
    ];
    for (const [what, receipt] of forged) {
      const bad = await verify(page, receipt, keys);
      assert.match(bad.text, /^NOT valid: /, `one byte of the ${what} is another`);
      assert.equal(bad.kind, "problem");
    }
    const again = await verify(page, receipt, keys);
    assert.deepEqual(again, good, "a forged one leaves nothing behind");
    return { verified: good.text, refused: forged.length };
  });
}

async function verify(page, receipt, keys) {
  const file = (name, json) => ({ name, mimeType: "application/json", buffer: Buffer.from(JSON.stringify(json)) });
  await page.getByLabel("The receipt").setInputFiles(file("receipt.json", receipt));
  await page.getByLabel("The keys of the ledger").setInputFiles(file("keys.json", keys));
  const answer = page.getByRole("status");
  await page.evaluate(() => (document.getElementById("answer").hidden = true));
  await page.getByRole("button", { name: "Verify" }).click();
  await answer.waitFor();
  return { text: await answer.innerText(), kind: await answer.getAttribute("class") };
}

/** The receipt with one bit of a byte changed; counted from the end if negative. */
function bent(receipt, member, at) {
  const bytes = Buffer.from(receipt[member], "base64");
  bytes[at < 0 ? bytes.length + at : at] ^= 1;
  return { ...receipt, [member]: bytes.toString("base64") };
}

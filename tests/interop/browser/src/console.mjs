// A person's way through the console: register, decide, come back, be signed out.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { inPage } from "./chromium.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function runConsole(browser, { origin, operatorPassword, screenshots, script }) {
  const tag = randomBytes(4).toString("hex");
  const prepared = await inPage(browser, origin, {}, async (page) => {
    await page.goto(`${origin}/`);
    await page.evaluate(script);
    return page.evaluate(([password, tag]) => globalThis.portal.prepare(password, tag), [operatorPassword, tag]);
  });
  const person = { name: "Ada Example", email: `ada-ui-${tag}@example.org`, password: `correct horse ${tag}` };
  const desk = { viewport: { width: 1280, height: 900 } };
  return inPage(browser, origin, desk, async (page) => {
    const journey = { page, origin, script, person, prepared, screenshots, given: [] };
    page.on("response", (response) => listen(journey, response));
    await page.goto(`${origin}/`);
    await register(journey);
    await decide(journey);
    await comeBack(journey);
    await lookAround(journey);
    await expire(journey);
    await signOut(journey);
    await recover(journey);
    await secondFactor(journey);
    return { axe: "no violations" };
  });
}

async function register({ page, person, screenshots }) {
  const signIn = page.getByRole("form", { name: "Sign in" });
  await signIn.getByLabel("E-mail").fill(person.email);
  await signIn.getByLabel("Password").fill("not the password");
  await signIn.getByRole("button", { name: "Sign in" }).click();
  const alert = signIn.getByRole("alert");
  await alert.getByText("The e-mail or the password is not right").waitFor();
  assert.match(await alert.locator("code").innerText(), /^[A-Z][A-Z_]+$/, "the reason is shown");
  await axe(page);
  await picture(page, screenshots, "sign-in");

  await page.getByRole("button", { name: "Register" }).click();
  const form = page.getByRole("form", { name: "Register" });
  await form.getByLabel("Name").fill(person.name);
  await form.getByLabel("E-mail").fill(person.email);
  await form.getByLabel("Password").fill(person.password);
  await form.getByRole("button", { name: "Register and sign in" }).click();
  await page.getByText(person.name).waitFor();
  await page.getByText(person.email).waitFor();
}

async function decide({ page, prepared, screenshots }) {
  const waiting = page.getByRole("region", { name: "Waiting for your decision" });
  const research = card(waiting, prepared.researchId);
  await research.getByText("teach a computer to read handwriting").waitFor();
  const facts = await research.locator("dl").innerText();
  for (const fact of ["Your consent", "handwriting", "2 years", "University of Example"]) {
    assert.ok(facts.includes(fact), `the card says “${fact}”: ${facts}`);
  }
  await research.getByText("Read the notice").click();
  await research.getByText("You can change your mind at any time.").waitFor();
  await axe(page);
  await picture(page, screenshots, "waiting");

  await research.getByRole("button", { name: "Give consent" }).click();
  await expectStatus(page, prepared.researchId, "Given");
  await page.getByText("Recorded: you gave your consent to").waitFor();
  const focused = await page.evaluate(() => document.activeElement?.id);
  assert.equal(focused, `purpose-${prepared.researchId}`, "the focus follows the card");
  await card(waiting, prepared.newsletterId).getByRole("button", { name: "Refuse" }).click();
  await expectStatus(page, prepared.newsletterId, "Refused");
  await axe(page);
  await picture(page, screenshots, "decided");
}

async function comeBack(journey) {
  const { page, prepared } = journey;
  await page.reload();
  await expectStatus(page, prepared.researchId, "Given");
  await expectStatus(page, prepared.newsletterId, "Refused");
  await card(page, prepared.researchId).getByRole("button", { name: "Withdraw consent" }).click();
  await expectStatus(page, prepared.researchId, "Withdrawn");
  await page.reload();
  await expectStatus(page, prepared.researchId, "Withdrawn");
  await expectStatus(page, prepared.newsletterId, "Refused");
  const { accessToken, subjectId } = await latest(journey);
  const stored = await inPortal(journey, "statuses", accessToken, subjectId);
  assert.deepEqual(stored, { [prepared.researchId]: "WITHDRAWN", [prepared.newsletterId]: "REFUSED" });
}

/** A phone in the dark: nothing sticks out, nothing becomes unreadable. */
async function lookAround({ page, screenshots }) {
  await page.setViewportSize({ width: 360, height: 740 });
  await page.emulateMedia({ colorScheme: "dark" });
  const overhang = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overhang <= 0, `${overhang} px stick out on a phone`);
  await axe(page);
  await picture(page, screenshots, "phone-dark");
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}

/** An access token that is refused is renewed unseen; when the browser has lost its session, the page asks to sign in. */
async function expire(journey) {
  const { page, prepared } = journey;
  const before = await latest(journey);
  assert.equal(before.refreshToken, undefined, "no script sees a refresh token");
  const cookies = await page.context().cookies();
  const refresh = cookies.find(({ name }) => name === "__Host-portal-refresh");
  assert.deepEqual([refresh.httpOnly, refresh.secure, refresh.sameSite, refresh.path], [true, true, "Lax", "/"]);
  assert.equal(await page.evaluate(() => document.cookie), "", "nor a cookie");
  assert.deepEqual(await page.evaluate(() => [sessionStorage.length, ...Object.values(localStorage)]), [0, "yes"]);

  const research = card(page.getByRole("region", { name: "Your decisions" }), prepared.researchId);
  let refused = 0;
  await page.route("**/portal.consent.v1.ConsentService/GiveConsent", (route) => {
    const headers = route.request().headers();
    if (refused++ > 0) return route.continue();
    return route.continue({ headers: { ...headers, authorization: `Bearer ${spoilt(before.accessToken)}` } });
  });
  await research.getByRole("button", { name: "Give consent" }).click();
  await expectStatus(page, prepared.researchId, "Given");
  await page.unroute("**/portal.consent.v1.ConsentService/GiveConsent");
  assert.equal(refused, 2, "refused once, and made again");
  const renewed = await latest(journey);
  assert.notEqual(renewed.accessToken, before.accessToken);
  const successor = (await page.context().cookies()).find(({ name }) => name === "__Host-portal-refresh");
  assert.notEqual(successor.value, refresh.value, "a refresh token is spent once");

  await page.context().clearCookies();
  await page.reload();
  await page.getByText("Your session has ended. Please sign in again").waitFor();
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length), 0, "nothing is left");
  await signIn(journey);
  await expectStatus(page, prepared.newsletterId, "Refused");
}

async function signOut(journey) {
  const { page } = journey;
  const { accessToken, subjectId } = await latest(journey);
  assert.equal(await inPortal(journey, "outcome", accessToken, subjectId), "OK");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You are signed out.").waitFor();
  assert.equal(await page.locator("article").count(), 0, "nothing personal stays on the page");
  const stored = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
  assert.deepEqual(stored, [0, 0, ""]);
  assert.deepEqual(await page.context().cookies(), [], "the browser keeps nothing of the session");
  // Refused everywhere within a second, so give it that second.
  await page.waitForTimeout(1000);
  assert.match(await inPortal(journey, "outcome", accessToken, subjectId), /^Unauthenticated /);
}

/** Who forgot their password gets a mail, whose link leads here, once. */
async function recover(journey) {
  const { page, origin, person, screenshots } = journey;
  await page.getByRole("button", { name: "Set a new one" }).click();
  const form = page.getByRole("form", { name: "Set a new password" });
  await form.getByLabel("E-mail").fill(person.email);
  await axe(page);
  await form.getByRole("button", { name: "Send the mail" }).click();
  await page.getByText("a mail is on its way").waitFor();

  const link = await fromMailbox(journey, "Set a new password");
  const token = /#recover=[\w-]{43}/.exec(link)[0];
  await page.goto(`${origin}/${token}`);
  const setting = page.getByRole("form", { name: "Your new password" });
  await setting.getByLabel("New password").fill("password");
  assert.equal(new URL(page.url()).hash, "", "the token does not stay in the address bar");
  await setting.getByRole("button", { name: "Set it" }).click();
  await setting.getByRole("alert").waitFor();
  person.password = `a quiet harbour ${person.password}`;
  await setting.getByLabel("New password").fill(person.password);
  await axe(page);
  await picture(page, screenshots, "new-password");
  await setting.getByRole("button", { name: "Set it" }).click();
  await page.getByText("Your new password is set").waitFor();

  // Good once.
  await page.goto(`${origin}/${token}`);
  await setting.getByLabel("New password").fill(`once more ${person.password}`);
  await setting.getByRole("button", { name: "Set it" }).click();
  assert.match(await setting.getByRole("alert").innerText(), /no token from a mail, or was used, or is over/);
  await setting.getByRole("button", { name: "Leave it as it was" }).click();
  await signIn(journey);
  await page.getByRole("region", { name: "Your decisions" }).waitFor();
}

/** Mail that a portal on one machine does not send is at /mailbox, for a browser on that machine. */
async function fromMailbox({ page, origin, person, screenshots }, subject) {
  const key = readFileSync(join(process.env.PORTAL_DATA_DIR, "mailbox-key"), "utf8").trim();
  const mailbox = await page.context().newPage();
  try {
    const mail = mailbox.locator("article").filter({ hasText: subject }).filter({ hasText: person.email });
    for (let tries = 0; tries < 60 && (await mail.count()) === 0; tries++) {
      if (tries > 0) await mailbox.waitForTimeout(250);
      await mailbox.goto(`${origin}/mailbox/${key}`);
    }
    await axe(mailbox);
    await picture(mailbox, screenshots, "mailbox");
    const text = await mail.first().locator("pre").innerText();
    const other = await mailbox.request.get(`${origin}/mailbox/${key.slice(1)}`);
    assert.equal(other.status(), 403, "nobody reads it without the key");
    return text;
  } finally {
    await mailbox.close();
  }
}

async function signIn({ page, person }) {
  const form = page.getByRole("form", { name: "Sign in" });
  await form.getByLabel("E-mail").fill(person.email);
  await form.getByLabel("Password").fill(person.password);
  await form.getByRole("button", { name: "Sign in" }).click();
}

/** Whoever has a second factor is asked for it. */
async function secondFactor(journey) {
  const { page, screenshots } = journey;
  const codes = await turnOn(journey);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You are signed out.").waitFor();
  await signIn(journey);
  const form = page.getByRole("form", { name: "Second factor" });
  await form.getByLabel("Code").fill("000000");
  await form.getByRole("button", { name: "Go on" }).click();
  await form.getByRole("alert").getByText("This code is not right").waitFor();
  await axe(page);
  await picture(page, screenshots, "second-factor");
  await form.getByLabel("Code").fill(codes[0]);
  await form.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("region", { name: "Your decisions" }).waitFor();
}

/** Turns an authenticator on, and gives the recovery codes. */
async function turnOn(journey) {
  const { accessToken, accountId } = await latest(journey);
  const call = (path, body) =>
    journey.page.evaluate(
      async ([path, body, token]) => {
        const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
        const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
        if (!response.ok) throw new Error(await response.text());
        return response.json();
      },
      [`/v1/accounts/${accountId}/${path}`, body, accessToken],
    );
  const { factorId, secret } = await call("totp:enroll", { displayName: "Phone" });
  return (await call("totp:confirm", { factorId, code: totp(secret) })).recoveryCodes;
}

/** The code of this moment (RFC 6238). */
function totp(base32) {
  const bits = [...base32].map((digit) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(digit).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const mac = createHmac("sha1", key).update(counter).digest();
  const at = mac[19] & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

const card = (root, purposeId) => root.locator(`article[data-purpose-id="${purposeId}"]`);

async function expectStatus(page, purposeId, words) {
  const decided = page.getByRole("region", { name: "Your decisions" });
  await card(decided, purposeId).locator(".status", { hasText: new RegExp(`^${words}$`) }).waitFor();
}

/** What the page is given when it begins a session or goes on with one. */
function listen({ given }, response) {
  if (!/\/v1\/sessions(:refresh)?$/.test(new URL(response.url()).pathname) || !response.ok()) return;
  given.push(response.json().then((reply) => reply.session ?? reply));
}

const latest = ({ given }) => given.at(-1);

/** The same length and alphabet, another token. */
function spoilt(token) {
  const middle = Math.floor(token.length / 2);
  return token.slice(0, middle) + (token[middle] === "A" ? "B" : "A") + token.slice(middle + 1);
}

async function inPortal({ page, script }, name, ...args) {
  await page.evaluate(script);
  return page.evaluate(([name, args]) => globalThis.portal[name](...args), [name, args]);
}

async function axe(page) {
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => (await globalThis.axe.run()).violations);
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help} (${nodes.map((node) => node.html).join(" ")})`);
  assert.deepEqual(told, [], "axe finds nothing");
}

async function picture(page, directory, name) {
  if (directory) await page.screenshot({ path: join(directory, `console-${name}.png`), fullPage: true });
}

// Passkeys with a real browser: Chromium's virtual authenticator makes one and signs in with it, by the JSON edge.
import assert from "node:assert/strict";
import { inPage } from "./chromium.mjs";

const PASSWORD = "correct horse battery staple";

/** `origin` as browsers take it for passkeys: they want a name. */
const named = (origin) => origin.replace("//127.0.0.1:", "//localhost:");

export async function runPasskeys(browser, { origin }) {
  const page = named(origin);
  const email = `passkey.${crypto.randomUUID()}@example.org`;
  return inPage(browser, page, {}, async (tab) => {
    const devtools = await tab.context().newCDPSession(tab);
    await devtools.send("WebAuthn.enable");
    const { authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", {
      options: {
        protocol: "ctap2",
        ctap2Version: "ctap2_1",
        transport: "internal",
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    });
    await tab.goto(`${page}/`);
    const session = await tab.evaluate(signUp, { email, password: PASSWORD });
    const factor = await tab.evaluate(register, session);
    assert.equal(factor.type, "FACTOR_TYPE_PASSKEY");
    const { credentials } = await devtools.send("WebAuthn.getCredentials", { authenticatorId });
    assert.equal(credentials.length, 1);
    assert.ok(credentials[0].isResidentCredential, "it can be found without an address");
    assert.equal(credentials[0].rpId, "localhost");

    for (const hint of [{}, { email }]) {
      const signedIn = await tab.evaluate(signIn, hint);
      assert.deepEqual([signedIn.acr, signedIn.accountId], ["passkey", session.accountId]);
      const list = await tab.evaluate(factors, signedIn);
      assert.equal(list.length, 1);
      assert.ok(list[0].lastUseTime);
    }
    const { credentials: used } = await devtools.send("WebAuthn.getCredentials", { authenticatorId });
    assert.ok(used[0].signCount > credentials[0].signCount, "it counts");
    // Who is not verified does not get in: the browser itself gives up.
    await devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
    await assert.rejects(tab.evaluate(signIn, {}), /NotAllowedError/);
    return { signIns: 2 };
  });
}

// What follows runs in the page.

async function signUp({ email, password }) {
  const post = async (path, body) => {
    const reply = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
    return reply.json();
  };
  await post("/v1/accounts", { email, password, displayName: "Anna" });
  return (await post("/v1/sessions", { email, password })).session;
}

async function register({ accountId, accessToken }) {
  const post = async (path, body) => {
    const headers = { "content-type": "application/json", authorization: `Bearer ${accessToken}` };
    const reply = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
    return reply.json();
  };
  const base = `/v1/accounts/${accountId}/passkeys`;
  const { registrationId, optionsJson } = await post(`${base}:beginRegistration`, {});
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(optionsJson));
  const credential = await navigator.credentials.create({ publicKey });
  const credentialJson = JSON.stringify(credential.toJSON());
  return post(`${base}:finishRegistration`, { registrationId, credentialJson, displayName: "This browser" });
}

async function signIn(hint) {
  const post = async (path, body) => {
    const reply = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
    return reply.json();
  };
  const { authenticationId, optionsJson } = await post("/v1/passkeys:beginAuthentication", hint);
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(optionsJson));
  const credential = await navigator.credentials.get({ publicKey });
  const assertion = { authenticationId, credentialJson: JSON.stringify(credential.toJSON()) };
  return post("/v1/passkeys:finishAuthentication", { assertion });
}

async function factors({ accountId, accessToken }) {
  const headers = { authorization: `Bearer ${accessToken}` };
  const reply = await fetch(`/v1/accounts/${accountId}/factors`, { headers });
  return (await reply.json()).factors;
}

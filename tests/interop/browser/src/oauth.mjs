// Signing in at an application, with a real browser and a client that others wrote (openid-client): discovery, the pages,
// PKCE, ID tokens verified by the published keys, refresh, UserInfo, introspection, revocation, pushed requests, tokens bound to a key
// (DPoP), signing out, and that the application is told of it; and a device without a browser, which a person connects in theirs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";
import * as client from "openid-client";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PASSWORD = "correct horse battery staple";
const SCOPE = "openid profile email offline_access consent.read";
/** What WebCrypto of every Node verifies. ML-DSA-65 is verified by tests/interop/python. */
const ALGORITHMS = ["ES256", "EdDSA"];

export async function runOauth(browser, { origin, operatorPassword, screenshots }) {
  const json = caller(origin);
  const email = `oauth.${crypto.randomUUID()}@example.org`;
  await json("POST", "/v1/accounts", { email, password: PASSWORD, displayName: "Anna" });
  const operator = await json("POST", "/v1/sessions", { email: "operator@portal.local", password: operatorPassword });
  const application = await startApplication();
  try {
    for (const algorithm of ALGORITHMS) {
      const registered = await json(
        "POST",
        "/v1/clients",
        {
          client: {
            displayName: "News & <i>Views</i>",
            type: "TYPE_CONFIDENTIAL",
            grantTypes: ["authorization_code", "refresh_token"],
            redirectUris: [`${application.origin}/callback`],
            postLogoutRedirectUris: [`${application.origin}/bye`],
            backchannelLogoutUri: `${application.origin}/logout`,
            scopes: SCOPE.split(" "),
            idTokenSigningAlg: algorithm,
          },
        },
        operator.session.accessToken,
      );
      await story(browser, { origin, email, application, registered, algorithm, screenshots });
    }
    await machine(json, origin, operator.session.accessToken);
    await device(browser, { json, origin, email, operator: operator.session.accessToken, screenshots });
  } finally {
    application.close();
  }
  return { algorithms: ALGORITHMS, axe: "no violations" };
}

async function story(browser, { origin, email, application, registered, algorithm, screenshots }) {
  const insecure = origin.startsWith("http:") ? [client.allowInsecureRequests] : [];
  const config = await client.discovery(
    new URL(origin),
    registered.clientId,
    { client_secret: registered.clientSecret, id_token_signed_response_alg: algorithm },
    client.ClientSecretBasic(registered.clientSecret),
    { execute: [...insecure, client.enableNonRepudiationChecks] },
  );
  // Over TLS the authority is one of the portal's own, which the browser does not know.
  const ignoreHTTPSErrors = origin.startsWith("https:");
  const context = await browser.newContext({ locale: "en-GB", ignoreHTTPSErrors });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const asked = await question(config, application);
    await page.goto(asked.url.href);
    await check(page);
    await page.getByLabel("E-mail address").fill(email);
    await page.getByLabel("Password").fill("not the password");
    await page.getByRole("button", { name: "Sign in" }).click();
    assert.match(await page.getByRole("alert").innerText(), /wrong/);
    await page.getByLabel("E-mail address").fill(email);
    await page.getByLabel("Password").fill(PASSWORD);
    if (screenshots) await page.screenshot({ path: `${screenshots}/oauth-sign-in.png` });
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Allow News & <i>Views</i>?" }).waitFor();
    await check(page);
    if (screenshots) await page.screenshot({ path: `${screenshots}/oauth-consent.png` });
    const cookies = await context.cookies(origin);
    assert.deepEqual(cookies.map(({ name }) => name).sort(), ["__Host-portal-access", "__Host-portal-refresh"]);
    assert.ok(cookies.every(({ httpOnly, secure, sameSite }) => httpOnly && secure && sameSite === "Lax"));
    await page.getByRole("button", { name: "Allow" }).click();
    const tokens = await redeem(page, config, application, asked);
    assert.equal(tokens.claims().nonce, asked.nonce);
    const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub);
    assert.deepEqual([info.name, info.email], ["Anna", email]);

    await again(page, config, application);
    const bound = await withKey(page, config, application, algorithm);
    await useTokens(config, tokens);
    await signOut(page, config, application, tokens);
    await signedOut(application, tokens.claims(), bound.claims());
    assert.deepEqual(await context.cookies(origin), [], "nothing is left in the browser");
  } finally {
    await context.close();
  }
}

/** An authorization request, and what its answer is checked by. */
async function question(config, application, extra = {}) {
  const verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  const parameters = {
    redirect_uri: `${application.origin}/callback`,
    scope: SCOPE,
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    ...extra,
  };
  return { url: client.buildAuthorizationUrl(config, parameters), parameters, verifier, state, nonce };
}

async function redeem(page, config, application, { verifier, state, nonce }) {
  await page.waitForURL(`${application.origin}/callback?**`);
  return client.authorizationCodeGrant(config, new URL(page.url()), {
    pkceCodeVerifier: verifier,
    expectedState: state,
    expectedNonce: nonce,
    idTokenExpected: true,
  });
}

/** Who is signed in and approved is asked nothing; who may not be asked learns that. A pushed request does the same. */
async function again(page, config, application) {
  const silent = await question(config, application, { prompt: "none" });
  await page.goto(silent.url.href);
  await redeem(page, config, application, silent);
  const pushed = await question(config, application);
  await page.goto((await client.buildAuthorizationUrlWithPAR(config, pushed.parameters)).href);
  await redeem(page, config, application, pushed);
  const anew = await question(config, application, { prompt: "login" });
  await page.goto(anew.url.href);
  await page.getByRole("button", { name: "Sign in" }).waitFor();
}

/** Tokens that are bound to a key of the application: of use with it, and with no other. */
async function withKey(page, config, application, algorithm) {
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair(algorithm === "EdDSA" ? "Ed25519" : algorithm), {
    [client.modifyAssertion]: (header) => {
      // Ed25519 under the name that Portal tells.
      if (header.alg === "Ed25519") header.alg = "EdDSA";
    },
  });
  const asked = await question(config, application, { prompt: "none" });
  const url = await client.buildAuthorizationUrlWithPAR(config, asked.parameters, { DPoP });
  await page.goto(url.href);
  await page.waitForURL(`${application.origin}/callback?**`);
  const checks = { pkceCodeVerifier: asked.verifier, expectedState: asked.state, expectedNonce: asked.nonce, idTokenExpected: true };
  const answer = new URL(page.url());
  await assert.rejects(client.authorizationCodeGrant(config, answer, checks), { error: "invalid_grant" });
  const tokens = await client.authorizationCodeGrant(config, answer, checks, undefined, { DPoP });
  assert.equal(tokens.token_type, "dpop");
  await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, { DPoP });
  const told = await client.tokenIntrospection(config, tokens.access_token);
  assert.deepEqual([told.active, told.token_type, told.cnf.jkt], [true, "DPoP", await DPoP.calculateThumbprint()]);
  const { subject_id: subject } = tokens.claims();
  const consents = new URL(`/v1/subjects/${subject}/consents`, config.serverMetadata().issuer);
  const reached = await client.fetchProtectedResource(config, tokens.access_token, consents, "GET", undefined, undefined, { DPoP });
  assert.equal(reached.status, 200);
  const stolen = await fetch(consents, { headers: { authorization: `Bearer ${tokens.access_token}` } });
  assert.equal(stolen.status, 401);
  const thief = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
  await assert.rejects(client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, { DPoP: thief }));
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), { error: "invalid_grant" });
  const next = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
  assert.equal(next.token_type, "dpop");
  return tokens;
}

/** The application is told of each session that it had. */
async function signedOut(application, ...signIns) {
  const wanted = signIns.map(({ sid }) => sid);
  const until = Date.now() + 10_000;
  const told = () => application.told.map((token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url")));
  while (!wanted.every((sid) => told().some((said) => said.sid === sid)) && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (const { sid, sub, aud } of signIns) {
    const [said, ...more] = told().filter((said) => said.sid === sid);
    assert.deepEqual([said?.sub, said?.aud, more.length], [sub, aud, 0], "told once");
  }
}

async function useTokens(config, tokens) {
  const next = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(next.refresh_token, tokens.refresh_token);
  const told = await client.tokenIntrospection(config, next.access_token);
  assert.deepEqual([told.active, told.sub], [true, tokens.claims().sub]);
  await client.tokenRevocation(config, next.refresh_token);
  assert.equal((await client.tokenIntrospection(config, next.access_token)).active, false);
  await assert.rejects(client.refreshTokenGrant(config, next.refresh_token), { error: "invalid_grant" });
}

async function signOut(page, config, application, tokens) {
  const url = client.buildEndSessionUrl(config, {
    id_token_hint: tokens.id_token,
    post_logout_redirect_uri: `${application.origin}/bye`,
    state: "a state",
  });
  await page.goto(url.href);
  await check(page);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(`${application.origin}/bye?state=a+state`);
}

/** A service that acts for itself, and what its scope opens. */
async function machine(json, origin, operator) {
  const registered = await json(
    "POST",
    "/v1/clients",
    {
      client: {
        displayName: "Importer",
        type: "TYPE_CONFIDENTIAL",
        grantTypes: ["client_credentials"],
        scopes: ["consent.read"],
      },
    },
    operator,
  );
  const insecure = origin.startsWith("http:") ? [client.allowInsecureRequests] : [];
  const config = await client.discovery(new URL(origin), registered.clientId, registered.clientSecret, undefined, {
    execute: insecure,
  });
  const { access_token: token } = await client.clientCredentialsGrant(config, { scope: "consent.read" });
  await json("GET", "/v1/purposes", undefined, token);
  await assert.rejects(json("GET", "/v1/accounts", undefined, token), /SCOPE_MISSING/);
  const wrong = await client.discovery(new URL(origin), registered.clientId, "not-the-secret", undefined, {
    execute: insecure,
  });
  await assert.rejects(client.clientCredentialsGrant(wrong), { error: "invalid_client" });
}

/** A television: it shows a code, and the person compares it in their browser, or types it. */
async function device(browser, { json, origin, email, operator, screenshots }) {
  const registered = await json(
    "POST",
    "/v1/clients",
    {
      client: {
        displayName: "Television",
        type: "TYPE_PUBLIC",
        grantTypes: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
        scopes: ["openid", "email", "offline_access"],
        idTokenSigningAlg: "ES256",
      },
    },
    operator,
  );
  const insecure = origin.startsWith("http:") ? [client.allowInsecureRequests] : [];
  const config = await client.discovery(
    new URL(origin),
    registered.clientId,
    { id_token_signed_response_alg: "ES256" },
    client.None(),
    { execute: [...insecure, client.enableNonRepudiationChecks] },
  );
  const ignoreHTTPSErrors = origin.startsWith("https:");
  const context = await browser.newContext({ locale: "en-GB", ignoreHTTPSErrors });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const begin = () => client.initiateDeviceAuthorization(config, { scope: "openid email offline_access" });

    const brought = await begin();
    await page.goto(brought.verification_uri_complete);
    await check(page);
    await page.getByLabel("E-mail address").fill(email);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign in" }).click();
    assert.equal(await page.getByLabel("Code").inputValue(), brought.user_code);
    await page.getByText("does the device in front of you show this very code?").waitFor();
    await check(page);
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("heading", { name: "Allow Television?" }).waitFor();
    await page.getByText(brought.user_code).waitFor();
    await check(page);
    if (screenshots) await page.screenshot({ path: `${screenshots}/oauth-device.png` });
    const polled = client.pollDeviceAuthorizationGrant(config, brought);
    await page.getByRole("button", { name: "Allow" }).click();
    await page.getByRole("heading", { name: "The device is connected" }).waitFor();
    await check(page);
    const tokens = await polled;
    const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub);
    assert.equal(info.email, email);
    assert.ok((await client.refreshTokenGrant(config, tokens.refresh_token)).access_token);

    const typed = await begin();
    await page.goto(typed.verification_uri);
    await page.getByLabel("Code").fill("bbbb bbbb");
    await page.getByRole("button", { name: "Continue" }).click();
    assert.match(await page.getByRole("alert").innerText(), /No device shows that code/);
    await check(page);
    await page.getByLabel("Code").fill(typed.user_code.toLowerCase().replace("-", ""));
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("button", { name: "Refuse" }).click();
    await page.getByRole("heading", { name: "Refused" }).waitFor();
    await assert.rejects(client.pollDeviceAuthorizationGrant(config, typed), { error: "access_denied" });
  } finally {
    await context.close();
  }
}

/** What a machine finds wrong with a page that people are to use. */
async function check(page) {
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => (await globalThis.axe.run()).violations);
  assert.deepEqual(violations.map(({ id, help }) => `${id}: ${help}`), [], "axe finds nothing");
}

/** The application that people sign in at: it shows a page wherever they are sent. */
async function startApplication() {
  const told = [];
  const server = createServer(async (request, reply) => {
    if (request.method === "POST" && request.url === "/logout") {
      told.push(new URLSearchParams(await text(request)).get("logout_token"));
    }
    reply.setHeader("content-type", "text/plain").end("hello");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, told, close: () => server.close() };
}

function caller(origin) {
  return async (method, path, body, token) => {
    const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
    const reply = await fetch(origin + path, { method, headers, body: body && JSON.stringify(body) });
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
    return reply.json();
  };
}

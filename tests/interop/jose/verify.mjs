// Tokens and their published keys, by `jose` on a Node whose WebCrypto has ML-DSA: `node verify.mjs FILE`, as of verify.py.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { calculateJwkThumbprint, createLocalJWKSet, jwtVerify } from "jose";

const { jwks, tokens } = JSON.parse(await readFile(process.argv[2], "utf8"));
const set = JSON.parse(jwks);
const keys = createLocalJWKSet(set);
for (const key of set.keys) {
  assert.equal(await calculateJwkThumbprint(key), key.kid);
}
for (const { alg, typ, token, claims } of tokens) {
  const currentDate = new Date(claims.iat * 1000);
  const verify = (text) => jwtVerify(text, keys, { algorithms: [alg], typ, currentDate });
  assert.deepEqual((await verify(token)).payload, claims);
  const ends = [token.indexOf("."), token.lastIndexOf("."), token.length];
  for (const at of ends) {
    const other = token[at - 4] === "A" ? "B" : "A";
    await assert.rejects(verify(token.slice(0, at - 4) + other + token.slice(at - 3)));
  }
  const others = ["ML-DSA-65", "ES256", "EdDSA"].filter((other) => other !== alg);
  await assert.rejects(jwtVerify(token, keys, { algorithms: others, typ, currentDate }));
  await assert.rejects(jwtVerify(token, keys, { algorithms: [alg], typ: "other", currentDate }));
  console.log("ok", alg, typ);
}

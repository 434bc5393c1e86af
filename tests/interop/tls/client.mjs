// A person's first calls with stock @grpc/grpc-js over TLS: an account, a sign-in, the account. Prints what the account is.
import { readFileSync } from "node:fs";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const PROTO = fileURLToPath(new URL("../../../proto", import.meta.url));
const { PORTAL_URL, PORTAL_CA_FILE } = process.env;

const files = ["portal/auth/v1/account_service.proto", "portal/auth/v1/session_service.proto"];
const { portal } = grpc.loadPackageDefinition(loader.loadSync(files, { includeDirs: [PROTO], keepCase: true }));
const address = `localhost:${new URL(PORTAL_URL).port}`;
const credentials = grpc.credentials.createSsl(readFileSync(PORTAL_CA_FILE));

const open = [];
function service(Client) {
  const client = new Client(address, credentials);
  open.push(client);
  return (method, request, metadata = new grpc.Metadata()) =>
    promisify(client[method].bind(client))(request, metadata, { deadline: Date.now() + 30_000 });
}

const accounts = service(portal.auth.v1.AccountService);
const sessions = service(portal.auth.v1.SessionService);
const person = { email: `node-${randomUUID()}@example.org`, password: `a long password ${randomUUID()}` };
await accounts("CreateAccount", { ...person, display_name: "Node", request_id: randomUUID() });
const { session } = await sessions("CreateSession", person);
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${session.access_token}`);
const account = await accounts("GetAccount", { account_id: session.account_id }, metadata);
if (account.email !== person.email) throw new Error(`another account: ${JSON.stringify(account)}`);
console.log(JSON.stringify({ node: process.version, openssl: process.versions.openssl, name: account.display_name }));
open.forEach((client) => client.close());

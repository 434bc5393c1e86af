// The calls the console makes, over gRPC-Web to the origin it was loaded from.
//
// Calls of a signed-in person carry the access token. When it is refused, another is asked for once
// (by one call, however many wait) and the call is made again; when that fails too, the session is
// forgotten and the caller gets UNAUTHENTICATED.
import { Code, ConnectError, type Interceptor, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Entrance } from "./entrance";
import { AccountService } from "./gen/portal/auth/v1/account_service_pb";
import { ConsentService } from "./gen/portal/consent/v1/consent_service_pb";
import { NoticeService } from "./gen/portal/consent/v1/notice_service_pb";
import { PurposeService } from "./gen/portal/consent/v1/purpose_service_pb";
import type { SessionStore, SignedIn } from "./session";

const TIMEOUT_MS = 15_000;

export function connect(baseUrl: string, store: SessionStore) {
  const open = createGrpcWebTransport({ baseUrl, defaultTimeoutMs: TIMEOUT_MS });
  const entry = new Entrance(baseUrl, TIMEOUT_MS);
  const own = createGrpcWebTransport({
    baseUrl,
    defaultTimeoutMs: TIMEOUT_MS,
    interceptors: [bearer(store, entry)],
  });
  return {
    entry,
    registration: createClient(AccountService, open),
    accounts: createClient(AccountService, own),
    consents: createClient(ConsentService, own),
    notices: createClient(NoticeService, own),
    purposes: createClient(PurposeService, own),
  };
}

export type Api = ReturnType<typeof connect>;

/** An idempotency key. Browsers make UUIDs on secure origins only; elsewhere the call goes without. */
export function newRequestId(): string {
  return "randomUUID" in crypto ? crypto.randomUUID() : "";
}

/** Reads every page of a list. */
export async function allPages<R extends { nextPageToken: string }, T>(
  read: (pageToken: string) => Promise<R>,
  items: (page: R) => T[],
): Promise<T[]> {
  const found: T[] = [];
  let pageToken = "";
  do {
    const page = await read(pageToken);
    found.push(...items(page));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return found;
}

function bearer(store: SessionStore, entry: Entrance): Interceptor {
  let refreshing: Promise<SignedIn> | undefined;
  const refresh = (used: SignedIn) => {
    refreshing ??= refreshOnce(store, entry, used).finally(() => (refreshing = undefined));
    return refreshing;
  };
  return (next) => async (request) => {
    const used = present(store);
    request.header.set("authorization", `Bearer ${used.accessToken}`);
    try {
      return await next(request);
    } catch (error) {
      if (ConnectError.from(error).code !== Code.Unauthenticated) throw error;
    }
    const latest = present(store);
    const fresh = latest.accessToken === used.accessToken ? await refresh(used) : latest;
    request.header.set("authorization", `Bearer ${fresh.accessToken}`);
    try {
      return await next(request);
    } catch (error) {
      if (ConnectError.from(error).code === Code.Unauthenticated) store.forget();
      throw error;
    }
  };
}

function present(store: SessionStore): SignedIn {
  if (store.current) return store.current;
  throw new ConnectError("not signed in", Code.Unauthenticated);
}

/** Answers that say the refresh token itself is no good, as against a network that fails. */
const SPENT = new Set([Code.InvalidArgument, Code.NotFound, Code.PermissionDenied, Code.Unauthenticated]);

async function refreshOnce(store: SessionStore, entry: Entrance, used: SignedIn): Promise<SignedIn> {
  const fresh = await resume(store, entry);
  // Somebody else signed in, in another tab of this browser: this page is not theirs.
  if (fresh.sessionId === used.sessionId) return fresh;
  store.forget();
  throw new ConnectError("the session has ended", Code.Unauthenticated);
}

/** Goes on with the session of this browser. */
export async function resume(store: SessionStore, entry: Entrance): Promise<SignedIn> {
  try {
    return store.keep(await entry.refreshSession());
  } catch (error) {
    if (!SPENT.has(ConnectError.from(error).code)) throw error;
    store.forget();
    throw new ConnectError("the session has ended", Code.Unauthenticated);
  }
}

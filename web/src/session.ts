// Who is signed in. The tokens live in memory and in this tab's sessionStorage, so a reload keeps
// them and closing the tab forgets them; no cookie, no localStorage.

const KEY = "portal.session";

export interface SignedIn {
  readonly sessionId: string;
  readonly accountId: string;
  readonly subjectId: string;
  readonly accessToken: string;
  readonly refreshToken: string;
}

const FIELDS = ["sessionId", "accountId", "subjectId", "accessToken", "refreshToken"] as const;

export class SessionStore {
  #current: SignedIn | undefined;
  readonly #storage: Storage;

  constructor(storage: Storage) {
    this.#storage = storage;
    this.#current = parse(storage.getItem(KEY));
  }

  get current(): SignedIn | undefined {
    return this.#current;
  }

  /** Takes any message with the fields of a session, and keeps only those. */
  keep(session: SignedIn): SignedIn {
    const { sessionId, accountId, subjectId, accessToken, refreshToken } = session;
    this.#current = { sessionId, accountId, subjectId, accessToken, refreshToken };
    this.#storage.setItem(KEY, JSON.stringify(this.#current));
    return this.#current;
  }

  forget(): void {
    this.#current = undefined;
    this.#storage.removeItem(KEY);
  }
}

function parse(text: string | null): SignedIn | undefined {
  try {
    const value = JSON.parse(text ?? "null");
    return value && FIELDS.every((field) => typeof value[field] === "string") ? value : undefined;
  } catch {
    return undefined;
  }
}

// Who is signed in. The access token lives in memory; the refresh token in a cookie that no script reads. What stays in the browser
// for scripts is one word: that somebody was signed in, so that a page which is loaded again asks who, and one for nobody does not.

const KEY = "portal.signed-in";

export interface SignedIn {
  readonly sessionId: string;
  readonly accountId: string;
  readonly subjectId: string;
  readonly accessToken: string;
}

export class SessionStore {
  #current: SignedIn | undefined;
  readonly #storage: Storage;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  get current(): SignedIn | undefined {
    return this.#current;
  }

  /** Whether this browser may have a session to go on with. */
  get mayResume(): boolean {
    return this.#storage.getItem(KEY) !== null;
  }

  /** Takes any message with the fields of a session, and keeps only those. */
  keep(session: SignedIn): SignedIn {
    const { sessionId, accountId, subjectId, accessToken } = session;
    this.#current = { sessionId, accountId, subjectId, accessToken };
    this.#storage.setItem(KEY, "yes");
    return this.#current;
  }

  forget(): void {
    this.#current = undefined;
    this.#storage.removeItem(KEY);
  }
}

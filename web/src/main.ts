// The console: a person signs in, sees what their data may be used for, and decides.
import { Code, ConnectError } from "@connectrpc/connect";
import { type Api, connect, newRequestId, resume } from "./api";
import { card, headingId } from "./card";
import { type Action, Decisions, type Entry, type Place, loadEntries, placeOf } from "./consents";
import { Door } from "./door";
import { element, find } from "./dom";
import { clearProblem, problemOf, showProblem } from "./problem";
import { SessionStore, type SignedIn } from "./session";

const ENDED = "Your session has ended. Please sign in again; everything you decided is kept.";
const SAID: Record<Action, string> = {
  give: "Recorded: you gave your consent to",
  refuse: "Recorded: you refused",
  withdraw: "Recorded: you withdrew your consent to",
};
const SAID_MS = 12_000;
const PLACES = ["waiting", "decided", "informed"] as const satisfies readonly Place[];

const store = new SessionStore(localStorage);
const api = connect(location.origin, store);
const door = new Door(api, (session) => enter(store.keep(session), true));

function start(): void {
  find("#sign-out").addEventListener("click", signOut);
  window.addEventListener("hashchange", () => void fromMail());
  if (location.hash !== "") void fromMail();
  else if (store.mayResume) void goOn();
  else leave("");
}

/** Does what the link of a mail is for. Its token does not stay in the address bar. */
async function fromMail(): Promise<void> {
  const [, task, token] = /^#(recover|verify-email)=([\w-]{43})$/.exec(location.hash) ?? [];
  history.replaceState(null, "", location.pathname);
  if (task === "recover" && token) {
    leave("");
    door.openRecovery(token);
    return;
  }
  const said = task === "verify-email" && token ? await verify(token) : "";
  if (store.current) say(said);
  else if (store.mayResume) void goOn().then(() => say(said));
  else leave(said);
}

async function verify(verificationToken: string): Promise<string> {
  try {
    await api.registration.verifyEmail({ verificationToken, requestId: newRequestId() });
    return "Your e-mail address is confirmed.";
  } catch (error) {
    const { next, fields } = problemOf(error);
    return fields.length ? "This link is used up or too old. Ask for another mail." : next;
  }
}

/** Goes on with the session that this browser has, if it still has it. */
async function goOn(): Promise<void> {
  const problem = find("#load-problem");
  clearProblem(problem);
  find("#loading").hidden = false;
  find("#consents").hidden = false;
  try {
    enter(await resume(store, api.entry), false);
  } catch (error) {
    find("#loading").hidden = true;
    if (ended(error)) return;
    showProblem(problem, problemOf(error));
    problem.append(again(goOn));
  }
}

function enter(session: SignedIn, byHand: boolean): void {
  door.close();
  find("#consents").hidden = false;
  if (byHand) find("#consents-title").focus();
  void load(session);
}

function leave(note: string): void {
  find("#consents").hidden = true;
  find("#who").hidden = true;
  draw([], undefined);
  say("");
  door.open(note);
}

async function load(session: SignedIn): Promise<void> {
  const loading = find("#loading");
  const problem = find("#load-problem");
  clearProblem(problem);
  loading.hidden = false;
  try {
    const [account, entries] = await Promise.all([
      api.accounts.getAccount({ accountId: session.accountId }),
      loadEntries(api, session.subjectId),
    ]);
    // Signed out, or somebody else signed in, while the answer was under way.
    if (store.current?.sessionId !== session.sessionId) return;
    find("#who-name").textContent = account.displayName || account.email;
    find("#who-email").textContent = account.displayName ? account.email : "";
    find("#who").hidden = false;
    draw(entries, new Decisions(api, session.subjectId));
  } catch (error) {
    if (ended(error)) return;
    showProblem(problem, problemOf(error));
    problem.append(again(() => load(session)));
  } finally {
    loading.hidden = true;
  }
}

function again(act: () => Promise<void>): HTMLButtonElement {
  const button = element("button", "Try again");
  button.type = "button";
  button.addEventListener("click", () => void act());
  return button;
}

/** Draws every card, each in the list of how it stands. */
function draw(entries: Entry[], decisions: Decisions | undefined): void {
  const press = async (action: Action, entry: Entry) => {
    const decided = await record(decisions, action, entry);
    if (!decided) return;
    draw([decided, ...entries.filter((one) => one !== entry)], decisions);
    say(`${SAID[action]} “${entry.purpose?.displayName ?? entry.purposeId}”.`);
    document.getElementById(headingId(entry.purposeId))?.focus();
  };
  for (const place of PLACES) {
    const section = find(`#${place}`);
    const cards = entries.filter((entry) => placeOf(entry) === place).map((entry) => card(entry, press));
    find(".cards", section).replaceChildren(...cards);
    section.hidden = cards.length === 0;
  }
  find("#empty").hidden = decisions === undefined || PLACES.some((place) => !find(`#${place}`).hidden);
}

let quietAgain: ReturnType<typeof setTimeout> | undefined;

/** Says what happened, to eyes and to screen readers, for a while. */
function say(words: string): void {
  clearTimeout(quietAgain);
  find("#said").textContent = words;
  if (words !== "") quietAgain = setTimeout(() => say(""), SAID_MS);
}

async function record(decisions: Decisions | undefined, action: Action, entry: Entry): Promise<Entry | undefined> {
  try {
    return await decisions?.record(action, entry);
  } catch (error) {
    if (ended(error)) return undefined;
    throw error;
  }
}

/** Whether the session is over; if so the sign-in form takes the page's place. */
function ended(error: unknown): boolean {
  const over = ConnectError.from(error).code === Code.Unauthenticated;
  if (over) {
    store.forget();
    leave(ENDED);
  }
  return over;
}

async function signOut(): Promise<void> {
  const left = await revoke(api, store.current);
  store.forget();
  leave(left);
}

/** Ends the session at the server. Signing out here goes on even if that fails, and says so. */
async function revoke({ entry }: Api, session: SignedIn | undefined): Promise<string> {
  if (session === undefined) return "";
  const requestId = newRequestId();
  const end = (it: SignedIn) => entry.revokeSession(it.sessionId, requestId, it.accessToken);
  try {
    await end(session).catch(async (error: unknown) => {
      if (ConnectError.from(error).code !== Code.Unauthenticated) throw error;
      // The access token has ended, and the session has not: it is ended with another.
      const fresh = await resume(store, entry);
      if (fresh.sessionId === session.sessionId) await end(fresh);
    });
    return "You are signed out.";
  } catch (error) {
    if (ConnectError.from(error).code === Code.Unauthenticated) return "You are signed out.";
    return "You are signed out here, but Portal could not be told. The session ends by itself within 7 days.";
  }
}

start();

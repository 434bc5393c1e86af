// One card: what a purpose is, how it stands, and the buttons to decide. Giving and refusing look
// alike on purpose: the page must not nudge.
import { type Action, type Entry, actionsOf, hintOf, needsStatement } from "./consents";
import { element, find } from "./dom";
import { markdown } from "./markdown";
import { clearProblem, problemOf, showProblem } from "./problem";
import { LEGAL_BASIS, STATUS, plainDuration, plainTerm, timeElement } from "./words";

const LABEL: Record<Action, string> = { give: "Give consent", refuse: "Refuse", withdraw: "Withdraw consent" };
const STATEMENT = "I consent";

/** Does what was pressed, and draws the cards anew. Rejects if it was not recorded. */
export type Press = (action: Action, entry: Entry) => Promise<void>;

export const headingId = (purposeId: string) => `purpose-${purposeId}`;

export function card(entry: Entry, press: Press): DocumentFragment {
  const copy = find<HTMLTemplateElement>("#card").content.cloneNode(true) as DocumentFragment;
  const { purpose, consent } = entry;
  const name = purpose?.displayName || "A purpose that is no longer described";
  const heading = find("h3", copy);
  heading.id = headingId(entry.purposeId);
  heading.textContent = name;
  find("article", copy).setAttribute("aria-labelledby", heading.id);
  find("article", copy).dataset["purposeId"] = entry.purposeId;
  find(".description", copy).textContent = purpose?.description ?? "";
  const { words, tone } = STATUS[consent?.status ?? 0];
  const status = find(".status", copy);
  status.textContent = words;
  status.dataset["tone"] = tone;
  find("dl", copy).append(...facts(entry));
  fillNotice(find<HTMLDetailsElement>("details", copy), entry);
  const hint = find(".hint", copy);
  hint.textContent = hintOf(entry);
  hint.hidden = hint.textContent === "";
  fillActions(copy, entry, name, press);
  return copy;
}

function facts({ purpose, consent }: Entry): Node[] {
  const rows: [string, string | Node][] = [];
  if (purpose) {
    rows.push(["Legal basis", LEGAL_BASIS[purpose.legalBasis] ?? LEGAL_BASIS[0]]);
    if (purpose.personalData.length) rows.push(["Data used", purpose.personalData.map(plainTerm).join(", ")]);
    rows.push(["Kept for", purpose.retention ? plainDuration(purpose.retention) : "No limit was stated"]);
    rows.push(["Shared with", purpose.recipients.join(", ") || "Nobody else"]);
  }
  if (consent?.eventTime) rows.push(["Since", timeElement(consent.eventTime)]);
  if (consent?.expireTime) rows.push(["Until", timeElement(consent.expireTime)]);
  else if (!consent && purpose?.validity) rows.push(["Consent lasts", plainDuration(purpose.validity)]);
  return rows.flatMap(([term, value]) => [element("dt", term), element("dd", value)]);
}

function fillNotice(details: HTMLDetailsElement, { notice, language }: Entry): void {
  const body = notice?.bodies[language ?? ""];
  if (!notice || body === undefined) return;
  details.hidden = false;
  find("summary", details).textContent = `Read the notice: ${notice.title}`;
  const shown = find(".body", details);
  shown.lang = language ?? "";
  shown.append(...markdown(body));
}

function fillActions(copy: DocumentFragment, entry: Entry, name: string, press: Press): void {
  const actions = actionsOf(entry);
  const statement = find(".statement", copy);
  const input = find<HTMLInputElement>("input", statement);
  const asks = actions.includes("give") && needsStatement(entry);
  if (asks) {
    input.id = `statement-${entry.purposeId}`;
    const label = find<HTMLLabelElement>("label", statement);
    label.htmlFor = input.id;
    label.textContent = `To consent, type “${STATEMENT}”`;
    statement.hidden = false;
  }
  const problem = find(".problem", copy);
  const buttons = actions.map((action) => {
    const button = element("button", LABEL[action]);
    button.type = "button";
    button.dataset["action"] = action;
    button.setAttribute("aria-label", `${LABEL[action]}: ${name}`);
    button.addEventListener("click", async () => {
      if (action === "give" && asks && !stated(input)) return;
      clearProblem(problem);
      for (const one of buttons) one.disabled = true;
      try {
        await press(action, entry);
      } catch (error) {
        showProblem(problem, problemOf(error));
        for (const one of buttons) one.disabled = false;
        button.focus();
      }
    });
    return button;
  });
  find(".actions", copy).append(...buttons);
}

function stated(input: HTMLInputElement): boolean {
  const right = input.value.trim().toLowerCase() === STATEMENT.toLowerCase();
  input.setCustomValidity(right ? "" : `Type “${STATEMENT}” to consent, or refuse.`);
  input.addEventListener("input", () => input.setCustomValidity(""), { once: true });
  return input.reportValidity();
}

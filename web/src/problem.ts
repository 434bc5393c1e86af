// What went wrong, in words that say what to do next.
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb";
import { element } from "./dom";

export interface Problem {
  readonly next: string;
  readonly reason: string;
  readonly message: string;
  readonly fields: readonly { field: string; description: string }[];
}

const NEXT: Partial<Record<Code, string>> = {
  [Code.Aborted]: "Somebody changed this at the same moment. Please try again.",
  [Code.AlreadyExists]: "There is an account with this e-mail already. Sign in instead.",
  [Code.FailedPrecondition]: "This has changed since the page was loaded. Reload the page, then decide again.",
  [Code.InvalidArgument]: "Please correct what is named here and try again.",
  [Code.NotFound]: "This is no longer there. Reload the page to see what is.",
  [Code.PermissionDenied]: "Your account may not do this. Ask the organisation that runs Portal.",
  [Code.Unauthenticated]: "The e-mail or the password is not right. Check both and try again.",
  [Code.Unimplemented]: "This version of Portal cannot do this yet.",
};
/** Where the reason says more than the code. */
const OF_REASON: Record<string, string> = {
  CHALLENGE_REJECTED: "This code is not right, or was used before. Try the next one, or start again.",
};
const UNREACHABLE = "Portal cannot be reached just now. Check your connection and try again; nothing is recorded twice.";
const OURS = "Something went wrong on our side. Try again in a minute; if it stays, pass on the reason below.";

export function problemOf(error: unknown): Problem {
  const cause = ConnectError.from(error);
  const info = cause.findDetails(ErrorInfoSchema)[0];
  const fields = cause.findDetails(BadRequestSchema)[0]?.fieldViolations ?? [];
  return {
    next: OF_REASON[info?.reason ?? ""] ?? nextStep(cause),
    reason: info?.reason ?? Code[cause.code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase(),
    message: cause.rawMessage,
    fields: fields.map(({ field, description }) => ({ field, description })),
  };
}

function nextStep(cause: ConnectError): string {
  const transient = cause.code === Code.Unavailable || cause.code === Code.DeadlineExceeded;
  // A browser reports an unreachable server as a TypeError of fetch, without a status.
  if (transient || cause.cause instanceof TypeError) return UNREACHABLE;
  if (cause.code === Code.ResourceExhausted) {
    const seconds = Number(cause.findDetails(RetryInfoSchema)[0]?.retryDelay?.seconds ?? 60n);
    return `That was too often. Wait ${seconds} seconds, then try again.`;
  }
  return NEXT[cause.code] ?? OURS;
}

/** Shows the problem in an alert box, and marks the inputs of `form` that it names. */
export function showProblem(box: HTMLElement, problem: Problem, form?: HTMLFormElement): void {
  const list = problem.fields.map(({ field, description }) => element("li", `${field}: ${description}`));
  const reason = element("p", " ", problem.message);
  reason.prepend(element("code", problem.reason));
  box.replaceChildren(element("strong", problem.next), ...(list.length ? [element("ul", ...list)] : []), reason);
  box.hidden = false;
  for (const { field } of problem.fields) {
    const input = form?.elements.namedItem(field);
    if (input instanceof HTMLInputElement) input.setAttribute("aria-invalid", "true");
  }
}

export function clearProblem(box: HTMLElement, form?: HTMLFormElement): void {
  box.hidden = true;
  box.replaceChildren();
  form?.querySelectorAll("[aria-invalid]").forEach((input) => input.removeAttribute("aria-invalid"));
}

// Signing in, with a second factor if there is one; registering; and a new password by mail.
import { type Api, newRequestId } from "./api";
import { find, showOnly } from "./dom";
import { clearProblem, problemOf, showProblem } from "./problem";
import type { SignedIn } from "./session";

const DEVICE_NAME = "Console";
const MAIL_SENT = "If there is an account with this address, a mail is on its way. Its link is good for 30 minutes.";
const PASSWORD_SET = "Your new password is set, and every device is signed out. Sign in with it.";

export class Door {
  readonly #section = find("#door");
  readonly #note = find("#door-note");
  readonly #signIn = find<HTMLFormElement>("#sign-in");
  readonly #register = find<HTMLFormElement>("#register");
  readonly #factor = find<HTMLFormElement>("#factor");
  readonly #recover = find<HTMLFormElement>("#recover");
  readonly #newPassword = find<HTMLFormElement>("#new-password");
  readonly #forms = [this.#signIn, this.#register, this.#factor, this.#recover, this.#newPassword];
  #challengeToken = "";
  #recoveryToken = "";

  constructor(
    private readonly api: Api,
    private readonly entered: (session: SignedIn) => void,
  ) {
    find("#to-register").addEventListener("click", () => this.#turn(this.#register));
    find("#to-recover").addEventListener("click", () => this.#turn(this.#recover));
    for (const back of document.querySelectorAll(".to-sign-in")) {
      back.addEventListener("click", () => this.#turn(this.#signIn));
    }
    onSubmit(this.#signIn, (values) => this.#enter(values));
    onSubmit(this.#register, async (values) => {
      const { email, password, display_name: displayName } = values;
      await this.api.registration.createAccount({ email, password, displayName, requestId: newRequestId() });
      await this.#enter(values);
    });
    onSubmit(this.#factor, ({ code }) => this.#prove(code));
    onSubmit(this.#recover, async ({ email }) => {
      await this.api.registration.startRecovery({ email, requestId: newRequestId() });
      this.open(MAIL_SENT);
    });
    onSubmit(this.#newPassword, async ({ password: newPassword }) => {
      const recoveryToken = this.#recoveryToken;
      await this.api.registration.completeRecovery({ recoveryToken, newPassword, requestId: newRequestId() });
      this.open(PASSWORD_SET);
    });
  }

  /** Shows the sign-in form, with a word on why if there is one. */
  open(note: string): void {
    this.#show(this.#signIn, note);
    if (note !== "") find("input", this.#signIn).focus();
  }

  /** Asks for the new password that the token of a mail is good for. */
  openRecovery(recoveryToken: string): void {
    this.#show(this.#newPassword, "");
    this.#recoveryToken = recoveryToken;
    find("input", this.#newPassword).focus();
  }

  close(): void {
    this.#section.hidden = true;
  }

  #show(form: HTMLFormElement, note: string): void {
    this.#note.textContent = note;
    this.#note.hidden = note === "";
    this.#section.hidden = false;
    this.#forget();
    showOnly(form, ...this.#forms.filter((other) => other !== form));
  }

  #forget(): void {
    this.#challengeToken = "";
    this.#recoveryToken = "";
    for (const form of this.#forms) {
      form.reset();
      clearProblem(find(".problem", form), form);
    }
  }

  #turn(to: HTMLFormElement): void {
    this.#show(to, "");
    find("input", to).focus();
  }

  async #enter({ email, password }: Values): Promise<void> {
    const { result } = await this.api.entry.createSession({ email, password, deviceName: DEVICE_NAME });
    if (result.case === "mfaChallenge") {
      this.#turn(this.#factor);
      this.#challengeToken = result.value.challengeToken;
    } else if (result.case === "session") {
      this.#forget();
      this.entered(result.value);
    }
  }

  async #prove(code: string): Promise<void> {
    const digits = code.replace(/\s/g, "");
    const kind = /^\d{6}$/.test(digits) ? "totpCode" : "recoveryCode";
    const value = kind === "totpCode" ? digits : code;
    const challengeToken = this.#challengeToken;
    const session = await this.api.entry.completeMfa({ challengeToken, proof: { proof: { case: kind, value } } });
    this.#forget();
    this.entered(session);
  }
}

interface Values {
  readonly email: string;
  readonly password: string;
  readonly display_name: string;
  readonly code: string;
}

function onSubmit(form: HTMLFormElement, act: (values: Values) => Promise<void>): void {
  const problem = find(".problem", form);
  const button = find<HTMLButtonElement>("button[type=submit]", form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearProblem(problem, form);
    button.disabled = true;
    const data = new FormData(form);
    const text = (name: string) => String(data.get(name) ?? "");
    const trimmed = (name: string) => text(name).trim();
    try {
      await act({
        email: trimmed("email"),
        password: text("password"),
        display_name: trimmed("display_name"),
        code: trimmed("code"),
      });
    } catch (error) {
      showProblem(problem, problemOf(error), form);
    } finally {
      button.disabled = false;
    }
    if (!problem.hidden) button.focus();
  });
}

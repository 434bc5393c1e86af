// Signing in and registering.
import { type Api, newRequestId } from "./api";
import { find, showOnly } from "./dom";
import { clearProblem, problemOf, showProblem } from "./problem";
import type { SignedIn } from "./session";

const DEVICE_NAME = "Console";

export class Door {
  readonly #section = find("#door");
  readonly #note = find("#door-note");
  readonly #signIn = find<HTMLFormElement>("#sign-in");
  readonly #register = find<HTMLFormElement>("#register");

  constructor(
    private readonly api: Api,
    private readonly entered: (session: SignedIn) => void,
  ) {
    find("#to-register").addEventListener("click", () => this.#turn(this.#register, this.#signIn));
    find("#to-sign-in").addEventListener("click", () => this.#turn(this.#signIn, this.#register));
    onSubmit(this.#signIn, (values) => this.#enter(values));
    onSubmit(this.#register, async (values) => {
      const { email, password, display_name: displayName } = values;
      await this.api.registration.createAccount({ email, password, displayName, requestId: newRequestId() });
      await this.#enter(values);
    });
  }

  /** Shows the sign-in form, with a word on why if there is one. */
  open(note: string): void {
    this.#note.textContent = note;
    this.#note.hidden = note === "";
    this.#section.hidden = false;
    showOnly(this.#signIn, this.#register);
    for (const form of [this.#signIn, this.#register]) {
      form.reset();
      clearProblem(find(".problem", form), form);
    }
    if (note !== "") find("input", this.#signIn).focus();
  }

  close(): void {
    this.#section.hidden = true;
  }

  #turn(to: HTMLFormElement, from: HTMLFormElement): void {
    showOnly(to, from);
    this.#note.hidden = true;
    find("input", to).focus();
  }

  async #enter({ email, password }: Values): Promise<void> {
    const { result } = await this.api.entry.createSession({ email, password, deviceName: DEVICE_NAME });
    if (result.case !== "session") {
      throw new Error("this account asks for a second factor, which this page cannot take yet");
    }
    this.#signIn.reset();
    this.#register.reset();
    this.entered(result.value);
  }
}

interface Values {
  readonly email: string;
  readonly password: string;
  readonly display_name: string;
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
    try {
      await act({ email: text("email").trim(), password: text("password"), display_name: text("display_name").trim() });
    } catch (error) {
      showProblem(problem, problemOf(error), form);
    } finally {
      button.disabled = false;
    }
    if (!problem.hidden) button.focus();
  });
}

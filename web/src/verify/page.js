// @ts-check
// The page that verifies a receipt: two files in, a sentence out.
import { verify } from "./receipt.js";

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const form = /** @type {HTMLFormElement} */ (element("verify"));

/** @param {string} id */
async function json(id) {
  const file = /** @type {HTMLInputElement} */ (element(id)).files?.[0];
  if (!file) throw new Error("choose both files");
  return JSON.parse(await file.text());
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = element("answer");
  try {
    answer.textContent = `The receipt is ${await verify(await json("receipt"), await json("keys"))}.`;
    answer.className = "note";
  } catch (error) {
    answer.textContent = `NOT valid: ${error instanceof Error ? error.message : "the files can't be read"}.`;
    answer.className = "problem";
  }
  answer.hidden = false;
});

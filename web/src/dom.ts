// The little that is needed over the DOM. Text only ever becomes text nodes, never HTML.

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

/** Finds what index.html is known to hold. */
export function find<T extends HTMLElement = HTMLElement>(selector: string, root: ParentNode = document): T {
  const found = root.querySelector<T>(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

/** Shows one of several elements. */
export function showOnly(shown: HTMLElement, ...hidden: HTMLElement[]): void {
  for (const other of hidden) other.hidden = true;
  shown.hidden = false;
}

// Notices are Markdown. This shows the part of it that notices need (headings, lists, paragraphs,
// emphasis) as DOM nodes; links and HTML stay as the text they are, so a notice cannot do anything.
import { element } from "./dom";

export function markdown(source: string): HTMLElement[] {
  return source
    .replaceAll("\r\n", "\n")
    .split(/\n{2,}|\n(?=#{1,6} )|(?<=^#{1,6} .*)\n/m)
    .map((block) => block.trim())
    .filter((block) => block !== "")
    .map(toElement);
}

function toElement(block: string): HTMLElement {
  const heading = /^#{1,6} +(.*)$/.exec(block);
  if (heading) return element("h4", ...emphasised(heading[1] ?? ""));
  const lines = block.split("\n");
  if (lines.every((line) => /^\s*[-*+] /.test(line))) {
    return element("ul", ...lines.map((line) => element("li", ...emphasised(line.replace(/^\s*[-*+] +/, "")))));
  }
  return element("p", ...emphasised(lines.join(" ")));
}

function emphasised(text: string): (Node | string)[] {
  return text
    .split(/(\*\*[^*]+\*\*|\*[^*]+\*)/)
    .filter((part) => part !== "")
    .map((part) => {
      if (part.startsWith("**") && part.endsWith("**") && part.length > 4) return element("strong", part.slice(2, -2));
      if (part.startsWith("*") && part.endsWith("*") && part.length > 2) return element("em", part.slice(1, -1));
      return part;
    });
}

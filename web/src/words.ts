// The terms of the API in plain words.
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { ConsentStatus, LegalBasis } from "./gen/portal/consent/v1/resources_pb";
import { element } from "./dom";

const LOCALE = "en-GB";
const DAY = 86_400;

export const LEGAL_BASIS: Record<LegalBasis, string> = {
  [LegalBasis.UNSPECIFIED]: "Not stated",
  [LegalBasis.CONSENT]: "Your consent",
  [LegalBasis.EXPLICIT_CONSENT]: "Your explicit consent",
  [LegalBasis.CONTRACT]: "A contract with you",
  [LegalBasis.LEGAL_OBLIGATION]: "A legal obligation",
  [LegalBasis.VITAL_INTEREST]: "Protecting somebody's life",
  [LegalBasis.PUBLIC_INTEREST]: "A task in the public interest",
  [LegalBasis.LEGITIMATE_INTEREST]: "A legitimate interest",
};

type Tone = "good" | "bad" | "calm";

export const STATUS: Record<ConsentStatus, { words: string; tone: Tone }> = {
  [ConsentStatus.UNSPECIFIED]: { words: "Not decided", tone: "calm" },
  [ConsentStatus.UNKNOWN]: { words: "Not decided", tone: "calm" },
  [ConsentStatus.REQUESTED]: { words: "Asked, not decided", tone: "calm" },
  [ConsentStatus.GIVEN]: { words: "Given", tone: "good" },
  [ConsentStatus.REFUSED]: { words: "Refused", tone: "bad" },
  [ConsentStatus.WITHDRAWN]: { words: "Withdrawn", tone: "bad" },
  [ConsentStatus.RENEWED_GIVEN]: { words: "Given, renewed", tone: "good" },
  [ConsentStatus.EXPIRED]: { words: "Expired", tone: "calm" },
  [ConsentStatus.INVALIDATED]: { words: "Found invalid", tone: "bad" },
  [ConsentStatus.REVOKED]: { words: "Ended by the organisation", tone: "bad" },
  [ConsentStatus.REQUEST_DEFERRED]: { words: "Put off", tone: "calm" },
};

/** "pd:EmailAddress" → "email address". */
export function plainTerm(term: string): string {
  return term
    .replace(/^[a-z0-9-]+:/i, "")
    .replace(/(?<=[a-z0-9])(?=[A-Z])/g, " ")
    .toLowerCase();
}

export function plainDuration({ seconds }: Duration): string {
  const days = Number(seconds) / DAY;
  if (days >= 365 && days % 365 === 0) return units(days / 365, "year");
  if (days >= 30 && days % 30 === 0) return units(days / 30, "month");
  if (days >= 1) return units(Math.round(days), "day");
  return units(Math.max(1, Math.round(days * 24)), "hour");
}

function units(count: number, unit: string): string {
  return new Intl.NumberFormat(LOCALE, { style: "unit", unit, unitDisplay: "long" }).format(count);
}

export function timeElement(time: Timestamp): HTMLTimeElement {
  const date = timestampDate(time);
  const shown = element("time", date.toLocaleString(LOCALE, { dateStyle: "long", timeStyle: "short" }));
  shown.dateTime = date.toISOString();
  return shown;
}

/** The language to show a notice in: what the browser asks for, else English, else any. */
export function pickLanguage(available: string[], wanted: readonly string[]): string | undefined {
  const base = (tag: string) => tag.split("-")[0]?.toLowerCase();
  for (const tag of [...wanted, "en"]) {
    const match =
      available.find((one) => one.toLowerCase() === tag.toLowerCase()) ?? available.find((one) => base(one) === base(tag));
    if (match) return match;
  }
  return available.toSorted()[0];
}

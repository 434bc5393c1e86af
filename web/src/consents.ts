// What a person can decide, and what they decided: purposes, notices and consents put together.
import { type Api, allPages, newRequestId } from "./api";
import type { Notice } from "./gen/portal/consent/v1/notice_service_pb";
import type { Purpose } from "./gen/portal/consent/v1/purpose_service_pb";
import { type Consent, ConsentStatus, IndicationMethod, LegalBasis, State } from "./gen/portal/consent/v1/resources_pb";
import { pickLanguage } from "./words";

const PAGE_SIZE = 200;

/** One purpose as it stands for one person. */
export interface Entry {
  readonly purposeId: string;
  /** Absent if the purpose cannot be read any more. */
  readonly purpose: Purpose | undefined;
  /** The newest published notice that explains the purpose. */
  readonly notice: Notice | undefined;
  /** Language the notice is shown in. */
  readonly language: string | undefined;
  readonly consent: Consent | undefined;
}

export type Action = "give" | "refuse" | "withdraw";
export type Place = "waiting" | "decided" | "informed" | "nowhere";

const UNDECIDED = new Set([
  ConsentStatus.UNSPECIFIED,
  ConsentStatus.UNKNOWN,
  ConsentStatus.REQUESTED,
  ConsentStatus.REQUEST_DEFERRED,
]);
const IN_FORCE = new Set([ConsentStatus.GIVEN, ConsentStatus.RENEWED_GIVEN]);
const BY_CONSENT = new Set([LegalBasis.CONSENT, LegalBasis.EXPLICIT_CONSENT]);

export async function loadEntries(api: Api, subjectId: string): Promise<Entry[]> {
  const [consents, purposes, notices] = await Promise.all([
    allPages(
      (pageToken) => api.consents.listConsents({ subjectId, pageSize: PAGE_SIZE, pageToken }),
      (page) => page.consents,
    ),
    allPages(
      (pageToken) => api.purposes.listPurposes({ state: State.PUBLISHED, pageSize: PAGE_SIZE, pageToken }),
      (page) => page.purposes,
    ),
    allPages(
      (pageToken) => api.notices.listNotices({ state: State.PUBLISHED, pageSize: PAGE_SIZE, pageToken }),
      (page) => page.notices,
    ),
  ]);
  const published = new Map(purposes.map((purpose) => [purpose.purposeId, purpose]));
  const decided = await Promise.all(
    consents.map(async (consent) => {
      const purpose = published.get(consent.purposeId) ?? (await unpublished(api, consent.purposeId));
      published.delete(consent.purposeId);
      return entry(consent.purposeId, purpose, notices, consent);
    }),
  );
  return [...decided, ...[...published.values()].map((purpose) => entry(purpose.purposeId, purpose, notices, undefined))];
}

/** An archived purpose is not listed, but its consents are still shown. */
async function unpublished(api: Api, purposeId: string): Promise<Purpose | undefined> {
  return api.purposes.getPurpose({ purposeId }).catch(() => undefined);
}

function entry(purposeId: string, purpose: Purpose | undefined, notices: Notice[], consent: Consent | undefined): Entry {
  const notice = notices.find((one) => one.purposeIds.includes(purposeId));
  const language = notice && pickLanguage(Object.keys(notice.bodies), navigator.languages);
  return { purposeId, purpose, notice, language, consent };
}

export function placeOf({ purpose, notice, consent }: Entry): Place {
  if (consent && !UNDECIDED.has(consent.status)) return "decided";
  if (!purpose || !notice) return consent ? "decided" : "nowhere";
  return BY_CONSENT.has(purpose.legalBasis) ? "waiting" : "informed";
}

export function actionsOf(entry: Entry): Action[] {
  const { purpose, notice, consent } = entry;
  if (consent && IN_FORCE.has(consent.status)) return ["withdraw"];
  const open = purpose?.state === State.PUBLISHED && BY_CONSENT.has(purpose.legalBasis) && notice;
  if (!open) return [];
  return placeOf(entry) === "waiting" ? ["give", "refuse"] : ["give"];
}

/** Why nothing can be decided, or that what was decided has changed since; "" if neither. */
export function hintOf({ purpose, notice, consent }: Entry): string {
  if (!consent) return "";
  if (purpose?.state !== State.PUBLISHED) return "This purpose is no longer in use.";
  const changed = notice && notice.noticeId === consent.noticeId && notice.revision > consent.noticeRevision;
  return changed ? "The notice has changed since you decided." : "";
}

/** Special categories of data need an explicit statement, not just a button. */
export function needsStatement({ purpose }: Entry): boolean {
  return Boolean(purpose?.specialCategory) || purpose?.legalBasis === LegalBasis.EXPLICIT_CONSENT;
}

/**
 * Records decisions. A decision that is repeated after a failure keeps its request_id, so that one
 * whose reply was lost is not recorded twice.
 */
export class Decisions {
  readonly #requestIds = new Map<string, string>();

  constructor(
    private readonly api: Api,
    private readonly subjectId: string,
  ) {}

  async record(action: Action, entry: Entry): Promise<Entry> {
    const key = `${action} ${entry.purposeId}`;
    const requestId = this.#requestIds.get(key) ?? newRequestId();
    this.#requestIds.set(key, requestId);
    const { consent } = await this.#call(action, entry, requestId);
    this.#requestIds.delete(key);
    return { ...entry, consent };
  }

  #call(action: Action, entry: Entry, requestId: string) {
    const about = { subjectId: this.subjectId, purposeId: entry.purposeId, requestId };
    if (action === "withdraw") return this.api.consents.withdrawConsent({ ...about, method: IndicationMethod.BUTTON });
    const shown = { noticeId: entry.notice?.noticeId ?? "", language: entry.language ?? "" };
    if (action === "refuse") {
      return this.api.consents.refuseConsent({ ...about, ...shown, method: IndicationMethod.BUTTON });
    }
    const method = needsStatement(entry) ? IndicationMethod.EXPLICIT_STATEMENT : IndicationMethod.BUTTON;
    return this.api.consents.giveConsent({ ...about, ...shown, method });
  }
}

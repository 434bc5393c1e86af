// What the scripts outside the page may call.
import { ConsentService } from "../../../../web/src/gen/portal/consent/v1/consent_service_pb";
import { ConsentStatus } from "../../../../web/src/gen/portal/consent/v1/resources_pb";
import { client, failure, prepare } from "./portal";
import { receipt } from "./receipt";
import { tour } from "./tour";

/** One's consents as the service has them: purpose → status. */
async function statuses(accessToken: string, subjectId: string): Promise<Record<string, string>> {
  const { consents } = await client(ConsentService, accessToken).listConsents({ subjectId });
  return Object.fromEntries(consents.map((consent) => [consent.purposeId, ConsentStatus[consent.status]]));
}

/** How a call with this token ends. */
function outcome(accessToken: string, subjectId: string): Promise<string> {
  return failure(client(ConsentService, accessToken).listConsents({ subjectId }));
}

Object.assign(globalThis, { portal: { outcome, prepare, receipt, statuses, tour } });

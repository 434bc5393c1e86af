// The whole story as a web application would tell it. It returns plain data; src/tour.mjs judges.
import { Operations } from "../../../../web/src/gen/google/longrunning/operations_pb";
import type { Session } from "../../../../web/src/gen/portal/auth/v1/session_service_pb";
import { ConsentService } from "../../../../web/src/gen/portal/consent/v1/consent_service_pb";
import { Decision, DecisionService, Reason } from "../../../../web/src/gen/portal/consent/v1/decision_service_pb";
import { ConsentStatus, IndicationMethod } from "../../../../web/src/gen/portal/consent/v1/resources_pb";
import { DatasetService, Split, Task } from "../../../../web/src/gen/portal/valuation/v1/dataset_service_pb";
import {
  Exclusion_Cause,
  Method,
  type Valuation,
  ValuationSchema,
  ValuationState,
} from "../../../../web/src/gen/portal/valuation/v1/valuation_pb";
import { ValuationService, ValueOrder } from "../../../../web/src/gen/portal/valuation/v1/valuation_service_pb";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { type Prepared, client, failure, prepare, register, signIn } from "./portal";

const BATCH = 300;
const PAGE = 500;
const POLL_MS = 100;
const PATIENCE_MS = 60_000;

export interface DigitRecord {
  readonly recordId: string;
  readonly split: "TRAIN" | "VALIDATION";
  readonly label: number;
  readonly features: number[];
  /** Whose it is: the first or the second person. */
  readonly owner: 0 | 1;
}

export interface TourInput {
  readonly operatorPassword: string;
  readonly tag: string;
  readonly records: DigitRecord[];
}

export async function tour({ operatorPassword, tag, records }: TourInput) {
  const prepared = await prepare(operatorPassword, tag);
  const ada = await newPerson(`ada-${tag}@example.org`, "Ada");
  const ben = await newPerson(`ben-${tag}@example.org`, "Ben");
  const { researchId, newsletterId, controllerToken } = prepared;

  const adas = decisionsOf(ada, prepared);
  const bens = decisionsOf(ben, prepared);
  const statuses = [
    await adas.give(researchId),
    await adas.refuse(newsletterId),
    await bens.give(researchId),
    await bens.give(newsletterId),
    await bens.withdraw(newsletterId),
  ];
  const check = (person: Session, purposeId: string) => decision(controllerToken, person, purposeId);
  const before = [
    await check(ada, researchId),
    await check(ada, newsletterId),
    await check(ben, researchId),
    await check(ben, newsletterId),
  ];
  const denied = await denials(ada, ben);

  const subjects = [ada.subjectId, ben.subjectId] as const;
  const datasetId = await createDataset(controllerToken, researchId, tag);
  const appended = await append(controllerToken, datasetId, records, subjects);
  const all = await value(controllerToken, datasetId);
  statuses.push(await adas.withdraw(researchId));
  const after = [await check(ada, researchId), await check(ben, researchId)];
  const rest = await value(controllerToken, datasetId);
  return { subjects, statuses, before, denied, appended, all, after, rest };
}

async function newPerson(email: string, name: string): Promise<Session> {
  const password = `person ${crypto.randomUUID()}`;
  const account = await register(email, password, name);
  const session = await signIn(email, password);
  if (session.subjectId !== account.subjectId) throw new Error("account and session disagree about the subject");
  return session;
}

/** What a person does with their own token; each gives the status that came of it. */
function decisionsOf({ subjectId, accessToken }: Session, { noticeId }: Prepared) {
  const consents = client(ConsentService, accessToken);
  const about = (purposeId: string) => ({ subjectId, purposeId, requestId: crypto.randomUUID() });
  const shown = { noticeId, language: "en", method: IndicationMethod.BUTTON };
  const status = (reply: { consent?: { status: ConsentStatus } | undefined }) => ConsentStatus[reply.consent?.status ?? 0];
  return {
    give: async (id: string) => status(await consents.giveConsent({ ...about(id), ...shown })),
    refuse: async (id: string) => status(await consents.refuseConsent({ ...about(id), ...shown })),
    withdraw: async (id: string) => status(await consents.withdrawConsent(about(id))),
  };
}

async function decision(accessToken: string, { subjectId }: Session, purposeId: string): Promise<string> {
  const answer = await client(DecisionService, accessToken).checkConsent({ subjectId, purposeId });
  return `${Decision[answer.decision]} ${Reason[answer.reason]}`;
}

/** A person reaches nobody else's consents, and a caller without a token reaches nothing. */
async function denials(ada: Session, ben: Session): Promise<string[]> {
  const { subjectId } = ada;
  return [
    await failure(client(ConsentService, ben.accessToken).listConsents({ subjectId })),
    await failure(client(ConsentService).listConsents({ subjectId })),
    await failure(client(ConsentService, ada.accessToken).listConsents({ subjectId, pageSize: -1 })),
  ];
}

async function createDataset(accessToken: string, purposeId: string, tag: string): Promise<string> {
  const { datasetId } = await client(DatasetService, accessToken).createDataset({
    dataset: { displayName: `Digits ${tag}`, task: Task.CLASSIFICATION, featureCount: 64, purposeId },
    requestId: crypto.randomUUID(),
  });
  return datasetId;
}

async function append(
  accessToken: string,
  datasetId: string,
  records: DigitRecord[],
  subjects: readonly [string, string],
): Promise<number> {
  const datasets = client(DatasetService, accessToken);
  let appended = 0;
  for (const split of ["TRAIN", "VALIDATION"] as const) {
    const part = records.filter((record) => record.split === split);
    for (let start = 0; start < part.length; start += BATCH) {
      const batch = part.slice(start, start + BATCH);
      const { appendedCount } = await datasets.appendRecordBatch({
        datasetId,
        batch: {
          recordIds: batch.map((record) => record.recordId),
          subjectIds: batch.map((record) => subjects[record.owner]),
          features: batch.flatMap((record) => record.features),
          labels: batch.map((record) => record.label),
          split: Split[split],
        },
        requestId: crypto.randomUUID(),
      });
      appended += Number(appendedCount);
    }
  }
  return appended;
}

async function value(accessToken: string, datasetId: string) {
  const valuations = client(ValuationService, accessToken);
  const started = await valuations.startValuation({
    datasetId,
    method: Method.KNN_SHAPLEY,
    parameters: { k: 5 },
    requestId: crypto.randomUUID(),
  });
  const valuationId = started.name.replace(/^operations\//, "");
  const [watched, valuation] = await Promise.all([watch(accessToken, valuationId), finished(accessToken, started.name)]);
  const values: { recordId: string; subjectId: string; value: number; rank: number }[] = [];
  let pages = 0;
  for (let pageToken = ""; pages === 0 || pageToken !== ""; pages += 1) {
    const page = await valuations.listRecordValues({
      valuationId,
      pageSize: PAGE,
      pageToken,
      order: ValueOrder.HIGHEST_FIRST,
    });
    for (const { recordId, subjectId, value, rank } of page.recordValues) {
      values.push({ recordId, subjectId, value, rank: Number(rank) });
    }
    pageToken = page.nextPageToken;
  }
  const exclusions = valuation.exclusions.map((one) => ({
    cause: Exclusion_Cause[one.cause],
    training: Number(one.trainingRecordCount),
    validation: Number(one.validationRecordCount),
    subjects: Number(one.subjectCount),
  }));
  return { state: ValuationState[valuation.state], recordCount: Number(valuation.recordCount), watched, pages, values, exclusions };
}

/** The states that a server stream tells, while the operation is polled beside it. */
async function watch(accessToken: string, valuationId: string): Promise<string[]> {
  const states: string[] = [];
  try {
    for await (const progress of client(ValuationService, accessToken).watchValuation({ valuationId })) {
      states.push(ValuationState[progress.state]);
    }
  } catch (error) {
    if (ConnectError.from(error).code !== Code.Unimplemented) throw error;
    states.push("UNIMPLEMENTED");
  }
  return states;
}

async function finished(accessToken: string, name: string): Promise<Valuation> {
  const operations = client(Operations, accessToken);
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    const { done, result } = await operations.getOperation({ name });
    if (done && result.case === "response") {
      const valuation = anyUnpack(result.value, ValuationSchema);
      if (!valuation) throw new Error(`${name} answers with ${result.value.typeUrl}`);
      return valuation;
    }
    if (done) throw new Error(`${name} failed: ${result.case === "error" ? result.value.message : "no result"}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`${name} did not end in ${PATIENCE_MS} ms`);
}

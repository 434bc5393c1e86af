// What both checks need of Portal, over gRPC-Web with the stock transport.
import { ErrorInfoSchema } from "../../../../web/src/gen/google/rpc/error_details_pb";
import { type Account, AccountService } from "../../../../web/src/gen/portal/auth/v1/account_service_pb";
import { type Session, SessionService } from "../../../../web/src/gen/portal/auth/v1/session_service_pb";
import { NoticeService } from "../../../../web/src/gen/portal/consent/v1/notice_service_pb";
import { PurposeService } from "../../../../web/src/gen/portal/consent/v1/purpose_service_pb";
import { LegalBasis } from "../../../../web/src/gen/portal/consent/v1/resources_pb";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

export const OPERATOR = "operator@portal.local";

/** A client of a service that carries an access token, or none. */
export function client<S extends DescService>(service: S, accessToken?: string): Client<S> {
  return createClient(
    service,
    createGrpcWebTransport({
      baseUrl: location.origin,
      defaultTimeoutMs: 30_000,
      interceptors: [
        (next) => (request) => {
          if (accessToken !== undefined) request.header.set("authorization", `Bearer ${accessToken}`);
          return next(request);
        },
      ],
    }),
  );
}

export async function signIn(email: string, password: string): Promise<Session> {
  const { result } = await client(SessionService).createSession({ email, password });
  if (result.case !== "session") throw new Error(`${email}: expected a session, got ${result.case}`);
  return result.value;
}

export function register(email: string, password: string, displayName: string): Promise<Account> {
  return client(AccountService).createAccount({ email, password, displayName, requestId: crypto.randomUUID() });
}

export interface Prepared {
  readonly controllerToken: string;
  readonly researchId: string;
  readonly newsletterId: string;
  readonly noticeId: string;
}

/** Makes a controller, and as the controller two published purposes and the notice that explains them. */
export async function prepare(operatorPassword: string, tag: string): Promise<Prepared> {
  const email = `controller-${tag}@example.org`;
  const password = `controller ${crypto.randomUUID()}`;
  const operator = await signIn(OPERATOR, operatorPassword);
  const { accountId } = await register(email, password, "Study office");
  await client(AccountService, operator.accessToken).setRoles({
    accountId,
    roles: ["controller"],
    requestId: crypto.randomUUID(),
  });
  const { accessToken } = await signIn(email, password);
  const researchId = await publishPurpose(accessToken, {
    displayName: `Handwriting research ${tag}`,
    description: "We use the digits you wrote to teach a computer to read handwriting.",
    personalData: ["pd:Handwriting"],
    recipients: ["University of Example"],
    retentionDays: 730,
  });
  const newsletterId = await publishPurpose(accessToken, {
    displayName: `Newsletter ${tag}`,
    description: "We write to you four times a year about what the study found.",
    personalData: ["pd:EmailAddress"],
    recipients: [],
    retentionDays: 90,
  });
  const notices = client(NoticeService, accessToken);
  const { noticeId } = await notices.createNotice({
    notice: {
      title: `Handwriting study ${tag}`,
      bodies: {
        en: "# Handwriting study\n\nYou decide on **each** purpose by itself:\n\n- research on handwriting\n- a newsletter\n\nYou can change your mind at any time.",
      },
      purposeIds: [researchId, newsletterId],
    },
    requestId: crypto.randomUUID(),
  });
  await notices.publishNotice({ noticeId, requestId: crypto.randomUUID() });
  return { controllerToken: accessToken, researchId, newsletterId, noticeId };
}

interface PurposeText {
  displayName: string;
  description: string;
  personalData: string[];
  recipients: string[];
  retentionDays: number;
}

async function publishPurpose(accessToken: string, { retentionDays, ...text }: PurposeText): Promise<string> {
  const purposes = client(PurposeService, accessToken);
  const { purposeId } = await purposes.createPurpose({
    purpose: {
      ...text,
      legalBasis: LegalBasis.CONSENT,
      dpvPurposes: ["dpv:ResearchAndDevelopment"],
      retention: { seconds: BigInt(retentionDays * 86_400) },
      jurisdiction: "DE",
    },
    requestId: crypto.randomUUID(),
  });
  await purposes.publishPurpose({ purposeId, requestId: crypto.randomUUID() });
  return purposeId;
}

/** How a call that must fail failed: its code and the reason of its ErrorInfo. */
export async function failure(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "OK";
  } catch (error) {
    const cause = ConnectError.from(error);
    const info = cause.findDetails(ErrorInfoSchema)[0];
    return `${Code[cause.code]} ${info?.domain}/${info?.reason}`;
  }
}

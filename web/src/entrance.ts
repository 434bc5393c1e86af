// Signing in, going on and signing out. By JSON and not gRPC-Web, because the gateway keeps the refresh token in a cookie that no
// script reads: all that a script which should not be here could take is an access token, for minutes.
import { type DescMessage, type MessageInitShape, type MessageShape, create, fromJson, toJson } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb";
import {
  CompleteMfaRequestSchema,
  CreateSessionRequestSchema,
  CreateSessionResponseSchema,
  RefreshSessionRequestSchema,
  RevokeSessionRequestSchema,
  RevokeSessionResponseSchema,
  SessionSchema,
} from "./gen/portal/auth/v1/session_service_pb";

const DETAILS: readonly DescMessage[] = [BadRequestSchema, ErrorInfoSchema, RetryInfoSchema];

export class Entrance {
  constructor(
    private readonly baseUrl: string,
    private readonly timeoutMs: number,
  ) {}

  createSession(request: MessageInitShape<typeof CreateSessionRequestSchema>) {
    const message = toJson(CreateSessionRequestSchema, create(CreateSessionRequestSchema, request));
    return this.#call("sessions", message, CreateSessionResponseSchema);
  }

  completeMfa(request: MessageInitShape<typeof CompleteMfaRequestSchema>) {
    const message = toJson(CompleteMfaRequestSchema, create(CompleteMfaRequestSchema, request));
    return this.#call("sessions:completeMfa", message, SessionSchema);
  }

  /** The next access token of the browser's session. */
  refreshSession() {
    return this.#call("sessions:refresh", toJson(RefreshSessionRequestSchema, create(RefreshSessionRequestSchema)), SessionSchema);
  }

  revokeSession(sessionId: string, requestId: string, accessToken: string) {
    const message = toJson(RevokeSessionRequestSchema, create(RevokeSessionRequestSchema, { requestId }));
    const path = `sessions/${encodeURIComponent(sessionId)}:revoke`;
    return this.#call(path, message, RevokeSessionResponseSchema, accessToken);
  }

  async #call<D extends DescMessage>(path: string, body: unknown, reply: D, accessToken?: string): Promise<MessageShape<D>> {
    const headers: Record<string, string> = { "content-type": "application/json", "portal-session": "cookie" };
    if (accessToken !== undefined) headers.authorization = `Bearer ${accessToken}`;
    let response: Response;
    try {
      const signal = AbortSignal.timeout(this.timeoutMs);
      response = await fetch(`${this.baseUrl}/v1/${path}`, { method: "POST", headers, body: JSON.stringify(body), signal });
    } catch (cause) {
      throw new ConnectError("Portal did not answer", Code.Unavailable, undefined, undefined, cause);
    }
    const json = await response.json().catch(() => undefined);
    if (!response.ok) throw refusal(json);
    return fromJson(reply, json, { ignoreUnknownFields: true });
  }
}

/** A `google.rpc.Status` as JSON, as the other protocols would have told it. */
function refusal(status: { code?: number; message?: string; details?: readonly Record<string, unknown>[] } | undefined) {
  const details = (status?.details ?? []).flatMap(({ "@type": type, ...value }) => {
    const desc = DETAILS.find(({ typeName }) => type === `type.googleapis.com/${typeName}`);
    return desc ? [{ desc, value: fromJson(desc, value as never, { ignoreUnknownFields: true }) }] : [];
  });
  return new ConnectError(status?.message ?? "Portal answered with an error", status?.code ?? Code.Internal, undefined, details);
}

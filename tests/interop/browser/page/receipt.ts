// A person's receipt, from the decision to the answer that they may keep.
import { ConsentService } from "../../../../web/src/gen/portal/consent/v1/consent_service_pb";
import { IndicationMethod } from "../../../../web/src/gen/portal/consent/v1/resources_pb";
import { client, prepare, register, signIn } from "./portal";

/** What the person can save: the answers of GetReceipt, once it has its place in the ledger, and of GetLedgerKeys. */
export interface Saved {
  readonly receipt: { readonly receiptId: string; readonly cose: string; readonly inclusion: string };
  readonly keys: unknown;
}

export async function receipt(operatorPassword: string, tag: string): Promise<Saved> {
  const { researchId, noticeId } = await prepare(operatorPassword, tag);
  const [email, password] = [`receipt-${tag}@example.org`, `receipt ${crypto.randomUUID()}`];
  const { subjectId } = await register(email, password, "Rae Example");
  const { accessToken } = await signIn(email, password);
  const { receiptId } = await client(ConsentService, accessToken).giveConsent({
    subjectId,
    purposeId: researchId,
    noticeId,
    language: "en",
    method: IndicationMethod.BUTTON,
    requestId: crypto.randomUUID(),
  });
  const keys = await answer("/v1/consent/ledger/keys", accessToken);
  // Its place is proven once a checkpoint covers it, within seconds.
  for (let attempt = 0; attempt < 100; attempt++) {
    const receipt = (await answer(`/v1/receipts/${receiptId}`, accessToken)) as Saved["receipt"];
    if (receipt.inclusion) return { receipt, keys };
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`no checkpoint covers receipt ${receiptId}`);
}

async function answer(path: string, accessToken: string): Promise<unknown> {
  const response = await fetch(path, { headers: { authorization: `Bearer ${accessToken}` } });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

//! `ReceiptService`.

use portal_core::{Invalid, PageSize};
use portal_mesh::Caller;
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::receipt_service_server::ReceiptService;
use portal_receipt::Proof;
use portal_upkeep::status::withheld;
use tonic::{Request, Response, Status};

use super::convert::{Pages, both, receipts as convert};
use super::policy::{ExportReceipt, GetReceipt, ListReceipts, VerifyReceipt};
use super::{Edge, refused};

/// The largest object that is verified: ten times a receipt.
const MAX_OBJECT: usize = 64 * 1_024;

#[tonic::async_trait]
impl ReceiptService for Edge {
    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Result<Response<pb::Receipt>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<GetReceipt>()?;
        let id = convert::receipt_id(&request.get_ref().receipt_id).map_err(refused)?;
        let stored = self.app.kept_receipt(&permit, id).await?;
        permit.covers(stored.subject)?;
        let issued = self.app.issue(&permit, &stored).await?;
        Ok(Response::new(convert::message(&issued)))
    }

    async fn list_receipts(
        &self,
        request: Request<pb::ListReceiptsRequest>,
    ) -> Result<Response<pb::ListReceiptsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListReceipts>()?;
        let request = request.into_inner();
        let of = convert::receipts_of(&request).map_err(refused)?;
        permit.covers(of.subject)?;
        let filters = [of.subject.to_string(), of.consent.map(|id| id.to_string()).unwrap_or_default()];
        let pages =
            Pages::new::<ListReceipts>(&self.page_tokens, &caller, &filters.each_ref().map(String::as_str));
        let page = both(PageSize::parse(request.page_size), pages.open(&request.page_token));
        let (size, after) = page.map_err(refused)?;
        let page = self.app.receipts(&permit, of, after.and_then(convert::parse_position), size).await?;
        let response = pb::ListReceiptsResponse {
            receipts: page.items.iter().map(convert::message).collect(),
            next_page_token: pages.seal(page.next.map(convert::position)),
        };
        Ok(withheld(Response::new(response), page.withheld))
    }

    async fn export_receipt(
        &self,
        request: Request<pb::ExportReceiptRequest>,
    ) -> Result<Response<pb::ExportReceiptResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ExportReceipt>()?;
        let request = request.get_ref();
        let parsed = both(convert::receipt_id(&request.receipt_id), convert::format(request.format));
        let (id, format) = parsed.map_err(refused)?;
        let stored = self.app.kept_receipt(&permit, id).await?;
        permit.covers(stored.subject)?;
        let issued = self.app.issue(&permit, &stored).await?;
        Ok(Response::new(convert::export(&issued, format)?))
    }

    async fn verify_receipt(
        &self,
        request: Request<pb::VerifyReceiptRequest>,
    ) -> Result<Response<pb::VerifyReceiptResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<VerifyReceipt>()?;
        let request = request.get_ref();
        let mut invalid = Invalid::new();
        if request.cose.is_empty() || request.cose.len() > MAX_OBJECT {
            invalid.add("cose", "must have 1 byte to 64 KiB");
        }
        if request.inclusion.len() > MAX_OBJECT {
            invalid.add("inclusion", "must have at most 64 KiB");
        }
        invalid.finish(Some(())).map_err(refused)?;
        let inclusion = (!request.inclusion.is_empty()).then_some(request.inclusion.as_slice());
        let report = self.app.verify_receipt(&permit, &Proof { cose: &request.cose, inclusion });
        Ok(Response::new(convert::report(&report)))
    }
}

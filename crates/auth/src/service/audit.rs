//! `portal.auth.v1.AuditService`.

use std::sync::Arc;

use futures_util::StreamExt;
use portal_core::Invalid;
use portal_core::id::{EventId, Id};
use portal_mesh::Caller;
use portal_mesh::convert::timestamp;
use portal_mesh::policy::Action;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::audit_event::{Outcome, Severity};
use portal_proto::auth::v1::audit_service_server::AuditService;
use portal_upkeep::audit::Recorded;
use portal_upkeep::status::withheld;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::policy::{ListAuditEvents, WatchAuditEvents};
use super::{Api, convert, invalid, ocsf};
use crate::app::audit::{Place, Told};
use crate::app::{REASON, TRACE};

#[async_trait]
impl AuditService for Api {
    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListAuditEvents>()?;
        let request = request.into_inner();
        let (sought, size) = convert::audit_list(&request).map_err(invalid)?;
        let page_token = request.page_token.clone();
        let filters = pb::ListAuditEventsRequest { page_size: 0, page_token: String::new(), ..request };
        let scope = Self::page_scope::<ListAuditEvents>(&caller, &filters);
        let before = self.open_page(&scope, &page_token)?;
        let before = before.and_then(|id| Some(EventId::from_uuid(Uuid::from_slice(&id).ok()?)));
        let listed = self.app.list_audit_events(&permit, &sought, (before, size.get() as usize)).await?;
        let next = listed.next.map(|last| self.page_tokens.seal(&scope, last.uuid().as_bytes()));
        let message = pb::ListAuditEventsResponse {
            audit_events: listed.rows.iter().map(|found| event(&found.recorded, found.position)).collect(),
            next_page_token: next.unwrap_or_default(),
        };
        Ok(withheld(Response::new(message), listed.withheld))
    }

    async fn watch_audit_events(
        &self,
        request: Request<pb::WatchAuditEventsRequest>,
    ) -> Result<Response<BoxStream<pb::AuditEvent>>, Status> {
        let permit = Caller::of(&request)?.permit::<WatchAuditEvents>()?;
        let pb::WatchAuditEventsRequest { resume_token, actions } = request.into_inner();
        let actions = convert::audit_actions(actions).map_err(invalid)?;
        let resume = self.open_place(&resume_token)?;
        let events = Arc::clone(&self.app).watch_audit_events(&permit, resume, actions).await?;
        let api = self.clone();
        let events = events.map(move |found| {
            let Told { place, recorded } = found?;
            let resume_token = api.place_token(place);
            let told =
                recorded.map_or_else(|| corrupt(place), |recorded| event(&recorded, Some(place.position)));
            Ok(pb::AuditEvent { resume_token, ..told })
        });
        Ok(Response::new(Box::pin(events)))
    }
}

impl Api {
    fn place_token(&self, place: Place) -> String {
        let bytes = [place.position.to_be_bytes().as_slice(), &place.event.bytes()].concat();
        self.page_tokens.seal(WatchAuditEvents::METHOD.as_bytes(), &bytes)
    }

    fn open_place(&self, token: &str) -> Result<Option<Place>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let read = || {
            let bytes = self.page_tokens.open(WatchAuditEvents::METHOD.as_bytes(), token).ok()?;
            let (position, event) = bytes.split_first_chunk()?;
            let event = EventId::from_bytes(event.try_into().ok()?);
            Some(Place { position: u64::from_be_bytes(*position), event })
        };
        let error =
            || invalid(Invalid::field("resume_token", "must be a resume_token of this stream, unchanged"));
        read().map(Some).ok_or_else(error)
    }
}

/// An event whose row is not what was written: where it is, and nothing of what stands there now.
fn corrupt(place: Place) -> pb::AuditEvent {
    pb::AuditEvent {
        audit_event_id: place.event.to_string(),
        reason: ocsf::ROW_CORRUPT.to_owned(),
        severity: Severity::Critical.into(),
        ledger_index: i64::try_from(place.position).ok(),
        ocsf_json: ocsf::corrupt(place.event).to_string(),
        ..pb::AuditEvent::default()
    }
}

/// An event, for the person whose account it concerns: who else had a hand in it is not theirs to know.
pub(super) fn own_event(recorded: &Recorded, position: Option<u64>) -> pb::AuditEvent {
    let event = event(recorded, position);
    if event.actor_account_id.is_empty() || event.actor_account_id == event.account_id {
        return event;
    }
    pb::AuditEvent { actor_account_id: String::new(), ocsf_json: String::new(), ..event }
}

fn event(recorded: &Recorded, position: Option<u64>) -> pb::AuditEvent {
    let reason = recorded.detail(REASON);
    let outcome = if reason.is_some() { Outcome::Failure } else { Outcome::Success };
    pb::AuditEvent {
        audit_event_id: recorded.id.to_string(),
        action: recorded.action.clone(),
        outcome: outcome.into(),
        reason: reason.unwrap_or_default().to_owned(),
        severity: ocsf::severity(recorded).into(),
        actor_account_id: ocsf::actor(recorded).unwrap_or_default().to_owned(),
        actor_client_id: ocsf::client(recorded).unwrap_or_default().to_owned(),
        account_id: recorded.account.map(|account| account.to_string()).unwrap_or_default(),
        session_id: ocsf::session(recorded).unwrap_or_default(),
        trace_id: recorded.detail(TRACE).unwrap_or_default().to_owned(),
        ledger_index: position.and_then(|position| i64::try_from(position).ok()),
        event_time: Some(timestamp(recorded.recorded_at)),
        ocsf_json: ocsf::object(recorded).to_string(),
        resume_token: String::new(),
    }
}

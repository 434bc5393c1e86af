//! `portal.auth.v1.AccountService`.

use portal_core::id::{AccountId, EventId, Id};
use portal_mesh::Caller;
use portal_mesh::convert::timestamp;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::account_service_server::AccountService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::policy::{
    ChangePassword, CompleteRecovery, CreateAccount, DeleteAccount, ExportAccount, GetAccount, ListAccounts,
    LockAccount, SetRoles, StartRecovery, UnlockAccount, UpdateAccount, VerifyEmail,
};
use super::{Api, answer, audit, convert, invalid};
use crate::app::contact::Verified;
use crate::domain::Profiled;
use crate::store::accounts::Filter;

fn encode(profiled: &Profiled, now: portal_core::Timestamp) -> Vec<u8> {
    convert::account(profiled, now).encode_to_vec()
}

fn password_changed(sessions_ended: usize) -> pb::ChangePasswordResponse {
    let revoked_session_count = i32::try_from(sessions_ended).unwrap_or(i32::MAX);
    pb::ChangePasswordResponse { revoked_session_count }
}

fn deleted(at: portal_core::Timestamp) -> pb::DeleteAccountResponse {
    pb::DeleteAccountResponse { delete_time: Some(timestamp(at)) }
}

fn recovered(account: AccountId) -> pb::CompleteRecoveryResponse {
    pb::CompleteRecoveryResponse { account_id: account.to_string() }
}

fn verified(verified: &Verified) -> pb::VerifyEmailResponse {
    let account_id = verified.account.to_string();
    pb::VerifyEmailResponse { account_id, email_verify_time: Some(timestamp(verified.at)) }
}

#[async_trait]
impl AccountService for Api {
    async fn create_account(
        &self,
        request: Request<pb::CreateAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<CreateAccount>()?;
        let mut request = request.into_inner();
        let (new, id) = convert::new_account(&mut request).map_err(invalid)?;
        let change = self.change::<CreateAccount, _>(&caller, id, &request, encode);
        let reply = self.app.create_account(permit, new, &change).await?;
        answer(reply, |account| convert::account(account, change.now))
    }

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let permit = Caller::of(&request)?.permit::<GetAccount>()?;
        let id = convert::id("account_id", &request.get_ref().account_id).map_err(invalid)?;
        let account = self.app.account(&permit, id).await?;
        Ok(Response::new(convert::shown(&account, self.app.now())))
    }

    async fn update_account(
        &self,
        request: Request<pb::UpdateAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<UpdateAccount>()?;
        let request = request.into_inner();
        let (asked, id) = convert::update_account(&request).map_err(invalid)?;
        let change = self.change::<UpdateAccount, _>(&caller, id, &request, encode);
        let reply = self.app.update_account(&permit, &asked, &change).await?;
        answer(reply, |account| convert::account(account, change.now))
    }

    async fn delete_account(
        &self,
        request: Request<pb::DeleteAccountRequest>,
    ) -> Result<Response<pb::DeleteAccountResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<DeleteAccount>()?;
        let request = request.into_inner();
        let (asked, id) = convert::delete_account(&request).map_err(invalid)?;
        let change =
            self.change::<DeleteAccount, _>(&caller, id, &request, |at, _| deleted(*at).encode_to_vec());
        let reply = self.app.delete_account(&permit, &asked, &change).await?;
        answer(reply, |at| deleted(*at))
    }

    async fn export_account(
        &self,
        request: Request<pb::ExportAccountRequest>,
    ) -> Result<Response<pb::ExportAccountResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ExportAccount>()?;
        let request = request.into_inner();
        let (account, size) = convert::export(&request).map_err(invalid)?;
        let page_token = request.page_token.clone();
        let filters = pb::ExportAccountRequest { page_size: 0, page_token: String::new(), ..request };
        let scope = Self::page_scope::<ExportAccount>(&caller, &filters);
        let before = self.open_page(&scope, &page_token)?;
        let before = before.and_then(|id| Some(EventId::from_uuid(Uuid::from_slice(&id).ok()?)));
        let export = self.app.export_account(&permit, account, (before, size.get() as usize)).await?;
        let next = export.events.next.map(|last| self.page_tokens.seal(&scope, last.uuid().as_bytes()));
        let events = export.events.rows.iter();
        let mut message = pb::ExportAccountResponse {
            audit_events: events.map(|found| audit::own_event(&found.recorded, found.position)).collect(),
            next_page_token: next.unwrap_or_default(),
            export_time: Some(timestamp(export.at)),
            ..pb::ExportAccountResponse::default()
        };
        if let Some(held) = &export.held {
            message.account = Some(convert::account(&held.owner, export.at));
            message.factors = held.factors.iter().map(convert::factor).collect();
            message.sessions = held.sessions.iter().map(convert::session).collect();
            message.approvals = held.approvals.iter().map(convert::approval).collect();
        }
        Ok(withheld(Response::new(message), export.events.withheld))
    }

    async fn start_recovery(
        &self,
        request: Request<pb::StartRecoveryRequest>,
    ) -> Result<Response<pb::StartRecoveryResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<StartRecovery>()?;
        let request = request.into_inner();
        let (email, id) = convert::start_recovery(&request).map_err(invalid)?;
        let change = self.change::<StartRecovery, _>(&caller, id, &request, |(), _| Vec::new());
        let reply = self.app.start_recovery(&permit, &email, &change).await?;
        answer(reply, |()| pb::StartRecoveryResponse {})
    }

    async fn complete_recovery(
        &self,
        request: Request<pb::CompleteRecoveryRequest>,
    ) -> Result<Response<pb::CompleteRecoveryResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<CompleteRecovery>()?;
        let mut request = request.into_inner();
        let (asked, id) = convert::complete_recovery(&mut request).map_err(invalid)?;
        let change =
            self.change::<CompleteRecovery, _>(&caller, id, &request, |id, _| recovered(*id).encode_to_vec());
        let reply = self.app.complete_recovery(&permit, asked, &change).await?;
        answer(reply, |id| recovered(*id))
    }

    async fn verify_email(
        &self,
        request: Request<pb::VerifyEmailRequest>,
    ) -> Result<Response<pb::VerifyEmailResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<VerifyEmail>()?;
        let request = request.into_inner();
        let (token, id) = convert::verify_email(&request).map_err(invalid)?;
        let change =
            self.change::<VerifyEmail, _>(&caller, id, &request, |it, _| verified(it).encode_to_vec());
        let reply = self.app.verify_email(&permit, token, &change).await?;
        answer(reply, verified)
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ChangePassword>()?;
        let mut request = request.into_inner();
        let (asked, id) = convert::change_password(&mut request).map_err(invalid)?;
        let keep = caller.user().map(|user| user.session);
        let change = self.change::<ChangePassword, _>(&caller, id, &request, |count, _| {
            password_changed(*count).encode_to_vec()
        });
        let reply = self.app.change_password(&permit, asked, keep, &change).await?;
        answer(reply, |count| password_changed(*count))
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListAccounts>()?;
        let request = request.into_inner();
        let list = convert::account_list(&request).map_err(invalid)?;
        let page_token = request.page_token.clone();
        let filters = pb::ListAccountsRequest { page_size: 0, page_token: String::new(), ..request };
        let scope = Self::page_scope::<ListAccounts>(&caller, &filters);
        let after = self.open_page(&scope, &page_token)?;
        let after = after.and_then(|id| Some(AccountId::from_uuid(Uuid::from_slice(&id).ok()?)));
        let size = list.page_size.get() as usize;
        if list.deleted {
            let listed = self.app.list_tombstones(permit, after, size).await?;
            let next = listed.next.map(|last| self.page_tokens.seal(&scope, last.uuid().as_bytes()));
            let message = pb::ListAccountsResponse {
                accounts: listed.rows.iter().map(convert::tombstone).collect(),
                next_page_token: next.unwrap_or_default(),
            };
            return Ok(withheld(Response::new(message), listed.withheld));
        }
        let email = self.app.indexes(list.email.as_ref()).await?;
        let filter = Filter { email, role: list.role, locked: list.locked };
        let listed = self.app.list_accounts(permit, &filter, after, size).await?;
        let next = listed.next.map(|last| self.page_tokens.seal(&scope, last.uuid().as_bytes()));
        let now = self.app.now();
        let message = pb::ListAccountsResponse {
            accounts: listed.rows.iter().map(|account| convert::account(account, now)).collect(),
            next_page_token: next.unwrap_or_default(),
        };
        Ok(withheld(Response::new(message), listed.withheld))
    }

    async fn lock_account(
        &self,
        request: Request<pb::LockAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<LockAccount>()?;
        let request = request.into_inner();
        let (asked, id) = convert::lock(&request, self.app.now()).map_err(invalid)?;
        let change = self.change::<LockAccount, _>(&caller, id, &request, encode);
        let reply = self.app.lock_account(permit, &asked, &change).await?;
        answer(reply, |account| convert::account(account, change.now))
    }

    async fn unlock_account(
        &self,
        request: Request<pb::UnlockAccountRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<UnlockAccount>()?;
        let request = request.into_inner();
        let (asked, id) = convert::unlock(&request).map_err(invalid)?;
        let change = self.change::<UnlockAccount, _>(&caller, id, &request, encode);
        let reply = self.app.unlock_account(permit, &asked, &change).await?;
        answer(reply, |account| convert::account(account, change.now))
    }

    async fn set_roles(
        &self,
        request: Request<pb::SetRolesRequest>,
    ) -> Result<Response<pb::Account>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<SetRoles>()?;
        let request = request.into_inner();
        let (asked, id) = convert::roles(&request).map_err(invalid)?;
        let change = self.change::<SetRoles, _>(&caller, id, &request, encode);
        let reply = self.app.set_roles(permit, &asked, &change).await?;
        answer(reply, |account| convert::account(account, change.now))
    }
}

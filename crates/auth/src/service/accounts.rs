//! `portal.auth.v1.AccountService`.

use portal_core::id::{AccountId, Id};
use portal_mesh::Caller;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::account_service_server::AccountService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::policy::{
    ChangePassword, CreateAccount, GetAccount, ListAccounts, LockAccount, SetRoles, UnlockAccount,
};
use super::{Api, answer, convert, invalid};
use crate::domain::Profiled;
use crate::store::accounts::Filter;

fn encode(profiled: &Profiled, now: portal_core::Timestamp) -> Vec<u8> {
    convert::account(profiled, now).encode_to_vec()
}

fn password_changed(sessions_ended: usize) -> pb::ChangePasswordResponse {
    let revoked_session_count = i32::try_from(sessions_ended).unwrap_or(i32::MAX);
    pb::ChangePasswordResponse { revoked_session_count }
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
        Ok(Response::new(convert::account(&account, self.app.now())))
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
        let email = self.app.indexes(list.email.as_ref()).await?;
        let filter = Filter { email, role: list.role, locked: list.locked };
        let size = list.page_size.get() as usize;
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

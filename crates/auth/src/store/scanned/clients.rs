//! What an integrity scan checks of the tables of OAuth clients: digests, and values that no version writes.

use std::sync::Arc;

use async_trait::async_trait;
use portal_store::sealed::RowDigests;
use portal_store::{ReadTx, StoreError};
use portal_upkeep::page::{Page, key_of};
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::{EntityTrait, ModelTrait};

use super::count;
use crate::store::authorizations::Authorizations;
use crate::store::client_sign_ins::ClientSignIns;
use crate::store::clients::Clients;
use crate::store::devices::Devices;
use crate::store::grants::Grants;
use crate::store::logout_notices::LogoutNotices;
use crate::store::token_bindings::TokenBindings;
use crate::store::{
    authorization_code, authorization_request, client, client_approval, client_option, client_sign_in,
    client_token, device_authorization, grant_token, logout_notice, session_grant, token_binding,
};

/// A table whose rows have nothing sealed in them.
struct ScanDigested<E: EntityTrait, F> {
    table: &'static str,
    key: Vec<E::Column>,
    check: F,
}

#[async_trait]
impl<E, F> ScannedTable for ScanDigested<E, F>
where
    E: EntityTrait<Model: ModelTrait<Entity = E> + Send + Sync>,
    F: Fn(E::Model) -> Result<(), StoreError> + Send + Sync,
{
    fn table(&self) -> &'static str {
        self.table
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<E>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let rows = page.of(E::find(), &self.key).all(tx.conn()).await.map_err(StoreError::from)?;
        let mut checked = Checked::of(page, rows.len(), rows.last().map(|row| key_of(row, &self.key)));
        for row in rows {
            checked.note((self.check)(row))?;
        }
        Ok(checked)
    }
}

fn scan<E, F>(table: &'static str, key: Vec<E::Column>, check: F) -> Arc<dyn ScannedTable>
where
    E: EntityTrait<Model: ModelTrait<Entity = E> + Send + Sync>,
    F: Fn(E::Model) -> Result<(), StoreError> + Send + Sync + 'static,
{
    Arc::new(ScanDigested::<E, F> { table, key, check })
}

/// The tables, with rows that are checked with `digests`.
pub(super) fn tables(digests: &RowDigests) -> Vec<Arc<dyn ScannedTable>> {
    [registered(digests), asked(digests), granted(digests), told(digests)].into_iter().flatten().collect()
}

/// Who may ask: clients, and what people approved of them.
fn registered(digests: &RowDigests) -> Vec<Arc<dyn ScannedTable>> {
    use client_approval::Column as Approval;

    let clients = || Clients::new(digests.clone());
    let (of_clients, options, approvals) = (clients(), clients(), clients());
    vec![
        scan::<client::Entity, _>("client", vec![client::Column::Id], move |row| {
            of_clients.checked(&row).map(drop)
        }),
        scan::<client_option::Entity, _>(
            "client_option",
            vec![client_option::Column::ClientId],
            move |row| options.options(&row).map(drop),
        ),
        scan::<client_approval::Entity, _>(
            "client_approval",
            vec![Approval::AccountId, Approval::ClientId],
            move |row| approvals.approved(&row).map(drop),
        ),
    ]
}

/// What they ask for: pushed requests, codes and devices.
fn asked(digests: &RowDigests) -> Vec<Arc<dyn ScannedTable>> {
    use authorization_code::Column as Code;
    use authorization_request::Column as Request;

    let authorizations = || Authorizations::new(digests.clone());
    let (requests, codes) = (authorizations(), authorizations());
    let devices = Devices::new(digests.clone());
    vec![
        scan::<authorization_request::Entity, _>(
            "authorization_request",
            vec![Request::RequestHash],
            move |row| requests.request(&row).map(drop),
        ),
        scan::<authorization_code::Entity, _>("authorization_code", vec![Code::CodeHash], move |row| {
            codes.code(&row).map(drop)
        }),
        scan::<device_authorization::Entity, _>(
            "device_authorization",
            vec![device_authorization::Column::DeviceHash],
            move |row| devices.checked(row).map(drop),
        ),
    ]
}

/// What they got: grants and tokens, and the keys these are bound to.
fn granted(digests: &RowDigests) -> Vec<Arc<dyn ScannedTable>> {
    let grants = || Grants::new(digests.clone());
    let (of_grants, tokens, own) = (grants(), grants(), grants());
    let bindings = TokenBindings::new(digests.clone());
    vec![
        scan::<session_grant::Entity, _>(
            "session_grant",
            vec![session_grant::Column::SessionId],
            move |row| of_grants.checked(&row).map(drop),
        ),
        scan::<grant_token::Entity, _>("grant_token", vec![grant_token::Column::RefreshHash], move |row| {
            tokens.checked_tokens(row).map(drop)
        }),
        scan::<client_token::Entity, _>("client_token", vec![client_token::Column::AccessHash], move |row| {
            own.checked_client_token(&row).map(drop)
        }),
        scan::<token_binding::Entity, _>(
            "token_binding",
            vec![token_binding::Column::TokenHash],
            move |row| bindings.checked(&row).map(drop),
        ),
    ]
}

/// Whom to tell that people signed out.
fn told(digests: &RowDigests) -> Vec<Arc<dyn ScannedTable>> {
    let (sign_ins, notices) = (ClientSignIns::new(digests.clone()), LogoutNotices::new(digests.clone()));
    vec![
        scan::<client_sign_in::Entity, _>(
            "client_sign_in",
            vec![client_sign_in::Column::SessionId],
            move |row| sign_ins.checked(&row).map(drop),
        ),
        scan::<logout_notice::Entity, _>("logout_notice", vec![logout_notice::Column::Id], move |row| {
            notices.checked(&row).map(drop)
        }),
    ]
}

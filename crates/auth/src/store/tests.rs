//! A cell opens in its own place alone, also for somebody who could make digests: table, row, column, version, person.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use portal_core::id::{EpochId, Id, SubjectId, TenantId};
use portal_core::{SeededEntropy, Timestamp, Workload};
use portal_crypto::envelope::{Scope, SubjectKey};
use portal_crypto::epoch::EpochKey;
use portal_crypto::key::KeyBytes;
use portal_crypto::row_digest::RowDigestKey;
use portal_crypto::suite::Suites;
use portal_store::sealed::{RowDigests, Sealing};
use portal_store::{Corruption, Metrics, StoreError};
use portal_upkeep::migration::Finality;
use portal_upkeep::migration::Mode;
use sea_orm::prelude::Uuid;

use super::accounts::Accounts;
use super::clients::Clients;
use super::sessions::Sessions;
use super::{Seals, account, client, session};
use crate::domain::{DeviceName, DisplayName, Email, Profile};

fn seals() -> Seals {
    let sealing = Sealing::new(Arc::new(SeededEntropy::new(7)), &Metrics::default());
    Seals::new(
        sealing,
        RowDigests::new(RowDigestKey::new(&[9; 32]), &Metrics::default()),
        "d0001",
        &Finality::not_kept(),
    )
}

fn key(subject: u128) -> SubjectKey {
    let entropy = SeededEntropy::new(1);
    let scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };
    let epoch = EpochId::from_uuid(Uuid::from_u128(1));
    let epoch = EpochKey::new(&KeyBytes::generate(&entropy), epoch, scope, Suites::ALL);
    let subject = SubjectId::from_uuid(Uuid::from_u128(subject));
    epoch.new_subject_key(subject, 1, Timestamp::default(), &entropy).unwrap().0
}

fn account(id: u128, subject: u128, revision: i64, mode: Mode) -> account::Model {
    let mut model = account::Model {
        id: Uuid::from_u128(id),
        subject_id: Uuid::from_u128(subject),
        email_index: vec![1; 16],
        email: String::new(),
        display_name: String::new(),
        password_hash: String::new(),
        roles: 1,
        locked_until: None,
        revision,
        created_at: 0,
        updated_at: 0,
        sealed_email: None,
        sealed_display_name: None,
        email_index_generation: Some(1),
        sealed_revision: None,
        row_digest: None,
    };
    let email = Email::parse("anna@example.org").unwrap();
    let profile = Profile { email, display_name: DisplayName::new("anna@example.org".to_owned()) };
    Accounts::new(seals()).write(&mut model, &profile, mode, &key(subject)).unwrap();
    model
}

fn session(id: u128, subject: u128, name: &str, mode: Mode) -> session::Model {
    let mut model = session::Model {
        id: Uuid::from_u128(id),
        account_id: Uuid::from_u128(3),
        device_name: String::new(),
        remember_me: false,
        created_at: 0,
        last_used_at: 0,
        access_expires_at: 0,
        refresh_expires_at: 0,
        revoked_at: None,
        subject_id: Some(Uuid::from_u128(subject)),
        sealed_device_name: None,
        row_digest: None,
    };
    Sessions::new(seals()).write(&mut model, &DeviceName::new(name.to_owned()), mode, &key(subject)).unwrap();
    model
}

#[track_caller]
fn refused<T>(opened: Result<T, StoreError>, column: &str) {
    match opened {
        Err(StoreError::Corrupt { column: at, cause: Corruption::EnvelopeRefused, .. }) => {
            assert_eq!(at, column);
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn the_cells_of_an_account_open_in_their_own_place_alone() {
    let accounts = Accounts::new(seals());
    let open = |change: &dyn Fn(&mut account::Model)| {
        let mut model = account(1, 2, 5, Mode::New);
        change(&mut model);
        accounts.seals.digests.stamp(&mut model).unwrap();
        accounts.sealed(&model, &key(2))
    };
    assert_eq!(open(&|_| {}).unwrap().email.expose(), "anna@example.org");
    refused(open(&|row| row.sealed_email = account(9, 2, 5, Mode::New).sealed_email), "sealed_email");
    refused(open(&|row| row.sealed_email = account(1, 8, 5, Mode::New).sealed_email), "sealed_email");
    refused(open(&|row| row.sealed_email = account(1, 2, 4, Mode::New).sealed_email), "sealed_email");
    refused(open(&|row| row.sealed_email = row.sealed_display_name.clone()), "sealed_email");
    refused(open(&|row| row.sealed_display_name = row.sealed_email.clone()), "sealed_display_name");
    refused(open(&|row| row.revision = 6), "sealed_email");
    let of_other = accounts.sealed(&account(1, 2, 5, Mode::New), &key(8));
    assert!(matches!(of_other, Err(StoreError::Corrupt { cause: Corruption::KeyMissing, .. })));
}

#[test]
fn the_cell_of_a_session_opens_in_its_own_place_alone() {
    let sessions = Sessions::new(seals());
    let open = |change: &dyn Fn(&mut session::Model)| {
        let mut model = session(1, 2, "laptop", Mode::New);
        change(&mut model);
        sessions.seals.digests.stamp(&mut model).unwrap();
        sessions.sealed(&model, &key(2))
    };
    assert_eq!(open(&|_| {}).unwrap().expose(), "laptop");
    let cell = |id, subject| session(id, subject, "laptop", Mode::New).sealed_device_name;
    refused(open(&|row| row.sealed_device_name = cell(9, 2)), "sealed_device_name");
    refused(open(&|row| row.sealed_device_name = cell(1, 8)), "sealed_device_name");
    refused(open(&|row| row.id = Uuid::from_u128(9)), "sealed_device_name");
}

#[test]
fn a_row_has_the_forms_of_its_mode() {
    let forms = |mode| {
        let (account, session) = (account(1, 2, 1, mode), session(1, 2, "laptop", mode));
        let clear =
            [!account.email.is_empty(), !account.display_name.is_empty(), !session.device_name.is_empty()];
        let sealed = [
            account.sealed_email.is_some(),
            account.sealed_display_name.is_some(),
            account.row_digest.is_some(),
            session.sealed_device_name.is_some(),
            session.subject_id.is_some(),
            session.row_digest.is_some(),
        ];
        (clear, sealed)
    };
    assert_eq!(forms(Mode::Old), ([true; 3], [false; 6]));
    assert_eq!(forms(Mode::Both), ([true; 3], [true; 6]));
    assert_eq!(forms(Mode::New), ([false; 3], [true; 6]));
    for mode in [Mode::Both, Mode::New] {
        let nameless = session(1, 2, "", mode);
        assert!(nameless.sealed_device_name.is_none() && nameless.row_digest.is_some());
        assert_eq!(Sessions::new(seals()).sealed(&nameless, &key(2)).unwrap().expose(), "");
    }
}

#[test]
fn what_is_sealed_under_the_key_of_somebody_else_is_not_written() {
    let mut model = session(1, 2, "laptop", Mode::New);
    let name = DeviceName::new("laptop".to_owned());
    let written = Sessions::new(seals()).write(&mut model, &name, Mode::New, &key(8));
    assert!(matches!(written, Err(StoreError::Sealing { .. })));
}

/// A client of an earlier version has no options; of one that has some, the row is missed.
#[test]
fn options_that_were_there_are_missed() {
    let seals = seals();
    let clients = Clients::new(seals.digests.clone());
    let client = |more: &str| {
        let settings = format!(
            r#"{{"display_name":"Newsletter","grant_types":[],"redirect_uris":[],"post_logout_redirect_uris":[],"scopes":"openid","id_token_signing_alg":"ES256","require_par":false{more}}}"#
        );
        let mut model = client::Model {
            id: Uuid::from_u128(1),
            kind: "public".to_owned(),
            settings,
            secret_hash: None,
            previous_secret_hash: None,
            previous_secret_expires_at: None,
            revision: 1,
            created_at: 0,
            updated_at: 0,
            row_digest: None,
        };
        seals.digests.stamp(&mut model).unwrap();
        model
    };
    assert!(!clients.read(&client(""), None).unwrap().settings.options.require_dpop);
    let missed = clients.read(&client(r#","options_beside":true"#), None);
    let Err(StoreError::Corrupt { table: "client_option", .. }) = missed else { panic!("{missed:?}") };
}

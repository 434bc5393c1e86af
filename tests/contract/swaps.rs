//! What one service has sealed about a person is put into the database of another one, for the same person: it opens
//! nowhere. The keys are apart, and so is everything that is sealed under them.

use portal_proto::auth::v1 as auth;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::consent::v1 as consent;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_tests::{Channel, Person, Portal, published_notice, published_purpose, uuid};
use tonic::{Code, Status};

use crate::sql::Sql;
use crate::story::{Values, decide, sign_up};

/// The account as its owner reads it, or the refusal.
async fn account(person: &Person, channel: &Channel) -> Result<auth::Account, Status> {
    let request = auth::GetAccountRequest { account_id: person.account_id.clone() };
    Ok(AccountServiceClient::new(person.on(channel)).get_account(request).await?.into_inner())
}

/// The reasons that a person's own history shows, and whether rows were withheld.
async fn reasons(person: &Person, channel: &Channel) -> (Vec<String>, bool) {
    let request =
        consent::ListConsentEventsRequest { subject_id: person.subject_id.clone(), ..Default::default() };
    let mut consents = ConsentServiceClient::new(person.on(channel));
    let reply = consents.list_consent_events(request).await.unwrap();
    let withheld = reply.metadata().contains_key("portal-rows-withheld");
    let events = reply.into_inner().events;
    (events.into_iter().map(|event| event.reason).filter(|reason| !reason.is_empty()).collect(), withheld)
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) {
    assert_eq!(answer.unwrap_err().code(), Code::DataLoss);
}

/// What is read of a person while nothing is swapped.
type Before = (auth::Account, (Vec<String>, bool));

/// Puts what `(from, select)` has into `(to, column, rows)`, a cell of another database. Digests stay as they are.
async fn put((from, select): (&Sql, &str), (to, table, column, rows): (&Sql, &str, &str, &str)) {
    let found = from.texts(select).await;
    let cell = found.first().unwrap();
    assert!(cell.len() > 2 * 34, "{select}: {cell}");
    let changed = to.run(&format!("UPDATE {table} SET {column} = x'{cell}' WHERE {rows}")).await;
    assert!(changed > 0, "{table} {column} {rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_has_sealed_opens_in_no_other() {
    let portal = Portal::start().await;
    let channel = portal.channel().await;
    let operator = portal.operator().await;
    let controller = portal.staff(&operator, &["controller"]).await.on(&channel);
    let purpose = published_purpose(&controller, "Swaps").await.purpose_id;
    let notice = published_notice(&controller, "Notice", &[&purpose]).await.notice_id;
    let (values, errors) = (Values::new(), &mut Vec::new());
    let person = sign_up(&portal, &values, errors).await;
    decide(&person.on(&channel), &person, &values, (&purpose, &notice), errors).await;
    let withdraw = consent::WithdrawConsentRequest {
        subject_id: person.subject_id.clone(),
        purpose_id: purpose.clone(),
        request_id: uuid(),
        reason: values.reason.clone(),
        ..Default::default()
    };
    let mut consents = ConsentServiceClient::new(person.on(&channel));
    let reply = consents.withdraw_consent(withdraw.clone()).await.unwrap().into_inner();
    let before = (account(&person, &channel).await.unwrap(), reasons(&person, &channel).await);
    assert_eq!(before.1, (vec![values.reason.clone(); 2], false));

    let data = portal.directory().join("data");
    let open = async |name: &str| Sql::file(&data.join(name)).await;
    let (of_auth, of_consent) = (open("auth.db").await, open("consent.db").await);
    let hex = |id: &str| format!("x'{}'", id.replace('-', ""));
    let (subject, account_row) = (hex(&person.subject_id), format!("id = {}", hex(&person.account_id)));
    let event_rows = format!("subject_id = {subject} AND sealed_reason IS NOT NULL");
    let reason = format!("SELECT hex(sealed_reason) FROM consent_event WHERE {event_rows}");
    let name = format!("SELECT hex(sealed_display_name) FROM account WHERE {account_row}");
    of_auth.run("CREATE TABLE kept AS SELECT * FROM account").await;
    of_consent.run("CREATE TABLE kept AS SELECT * FROM consent_event").await;
    of_consent.run("CREATE TABLE kept_replies AS SELECT * FROM idempotency_key").await;

    // Cells of rows with digests, both ways.
    put((&of_consent, &reason), (&of_auth, "account", "sealed_display_name", &account_row)).await;
    refused(account(&person, &channel).await);
    put(
        (&of_auth, &name.replace("FROM account", "FROM kept")),
        (&of_consent, "consent_event", "sealed_reason", &event_rows),
    )
    .await;
    assert_eq!(reasons(&person, &channel).await, (Vec::new(), true));
    // Kept replies have no digest: their envelopes alone are in the way.
    let auths_reply = format!("SELECT hex(sealed_reply) FROM idempotency_key WHERE subject_id = {subject}");
    let rows = format!("subject_id = {subject} AND method LIKE '%/WithdrawConsent'");
    put((&of_auth, &auths_reply), (&of_consent, "idempotency_key", "sealed_reply", &rows)).await;
    refused(consents.withdraw_consent(withdraw.clone()).await);

    // Put back, everything is there again: nothing else was in the way.
    of_auth.run(&format!("UPDATE account SET sealed_display_name = (SELECT k.sealed_display_name FROM kept k WHERE k.id = account.id) WHERE {account_row}")).await;
    of_consent.run("UPDATE consent_event SET sealed_reason = (SELECT k.sealed_reason FROM kept k WHERE k.event_id = consent_event.event_id)").await;
    of_consent.run("UPDATE idempotency_key SET sealed_reply = (SELECT k.sealed_reply FROM kept_replies k WHERE k.caller = idempotency_key.caller AND k.method = idempotency_key.method AND k.request_id = idempotency_key.request_id)").await;
    assert_eq!((account(&person, &channel).await.unwrap(), reasons(&person, &channel).await), before);
    assert_eq!(consents.withdraw_consent(withdraw).await.unwrap().into_inner(), reply);
    of_auth.close().await;
    of_consent.close().await;

    a_key_of_another_service(portal, &subject, &person, &before).await;
}

/// The key of the person itself: what consent has is no key of auth.
async fn a_key_of_another_service(portal: Portal, subject: &str, person: &Person, before: &Before) {
    let directory = portal.terminate().await;
    let data = directory.path().join("data");
    let (auth_keys, consent_keys) =
        (Sql::file(&data.join("auth.keys.db")).await, Sql::file(&data.join("consent.keys.db")).await);
    let rows = format!("subject_id = {subject}");
    let key = format!("SELECT hex(record) FROM subject_key WHERE {rows}");
    let kept = auth_keys.texts(&key).await.remove(0);
    put((&consent_keys, &key), (&auth_keys, "subject_key", "record", &rows)).await;
    auth_keys.close().await;
    let portal = Portal::restart(directory).await;
    let channel = portal.channel().await;
    refused(account(person, &channel).await);
    assert_eq!(reasons(person, &channel).await, before.1);
    let directory = portal.terminate().await;
    let auth_keys = Sql::file(&directory.path().join("data/auth.keys.db")).await;
    auth_keys.run(&format!("UPDATE subject_key SET record = x'{kept}' WHERE {rows}")).await;
    auth_keys.close().await;
    let portal = Portal::restart(directory).await;
    assert_eq!(account(person, &portal.channel().await).await.unwrap(), before.0);
}

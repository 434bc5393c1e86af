//! Canaries: every personal field that a client can fill holds a value that occurs nowhere else, through the whole story,
//! its wrong turns included. Afterwards they are looked for in every file of the data directory (databases, WAL, what the
//! process wrote to standard error), in the metrics and in the errors' bytes. Nothing may be found there.
//!
//! That the search can find something is shown by two values that may be found: the name of a purpose, in a database
//! file, and of a metric.

use portal_tests::{Portal, published_notice, published_purpose};

use crate::story::{Canary, Values, collect, decide, metrics, read, sign_up, value};

#[tokio::test(flavor = "multi_thread")]
async fn no_personal_value_is_written_anywhere_in_the_clear() {
    let portal = Portal::start().await;
    let channel = portal.channel().await;
    let operator = portal.operator().await;
    let controller = portal.staff(&operator, &["controller"]).await.on(&channel);
    let purpose = published_purpose(&controller, "SoughtAndFound").await.purpose_id;
    let notice = published_notice(&controller, "Notice", &[&purpose]).await.notice_id;
    let values = Values::new();
    let mut errors = Vec::new();

    let person = sign_up(&portal, &values, &mut errors).await;
    decide(&person.on(&channel), &person, &values, (&purpose, &notice), &mut errors).await;
    value(&controller, &person, &values, &purpose, &mut errors).await;
    read(&portal, &channel, &operator, &person, &values).await;

    let mut places: Vec<(String, Vec<u8>)> = vec![("metrics".to_owned(), metrics(&portal).await)];
    let errors = errors
        .iter()
        .map(|status| ("an error".to_owned(), [status.message().as_bytes(), status.details()].concat()));
    places.extend(errors);
    // While it runs, with the WAL as it is, and after it has stopped and written all back.
    collect(portal.directory(), &mut places);
    let directory = portal.terminate().await;
    collect(directory.path(), &mut places);

    let found: Vec<String> = values
        .canaries()
        .iter()
        .flat_map(|canary| {
            let places = places.iter().filter(|(_, bytes)| canary.is_in(bytes));
            places.map(|(place, _)| format!("{} in {place}", canary.field)).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "in the clear:\n  {}", found.join("\n  "));
    let is_somewhere = |text: &str| places.iter().any(|(_, bytes)| Canary::text("", text).is_in(bytes));
    assert!(is_somewhere("SoughtAndFound"), "the search finds nothing in a database");
    assert!(is_somewhere("store_transactions"), "the search finds nothing in the metrics");
}

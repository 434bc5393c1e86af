//! Canaries: every personal field of every table holds a value that occurs nowhere else, through the whole story, its wrong
//! turns included, up to a finished valuation, while everything that can be logged is. Afterwards they are looked for in
//! every file of the databases (WAL included), in a dump, in what the processes wrote to standard error, in the metrics and
//! in the errors' bytes. Nothing may be found there. Traces are the spans of that log: no other exporter is built in.
//!
//! On SQLite everything runs in one process, on PostgreSQL each service in its own.
//!
//! That the search can find something is shown by values that may be found. That no sealed column was forgotten is shown
//! by the schema: each of them holds something when the story ends.

use std::path::Path;
use std::process::Command;

use portal_testkit::EphemeralPostgres;
use portal_tests::{Portal, published_notice, published_purpose};
use tonic::Status;

use crate::second_factor;
use crate::sought::{Canary, Sought};
use crate::sql::Sql;
use crate::story::{Values, collect, decide, finish, metrics, read, sign_up, value, write_to};

/// What may be found, and is.
const PURPOSE: &str = "SoughtAndFound";

type Places = Vec<(String, Vec<u8>)>;

/// Lives the story; returns what is to be looked for, and where, apart from files.
async fn live(portal: &Portal) -> (Vec<Canary>, Places) {
    let channel = portal.channel().await;
    let operator = portal.operator().await;
    let controller = portal.staff(&operator, &["controller"]).await.on(&channel);
    let purpose = published_purpose(&controller, PURPOSE).await.purpose_id;
    let notice = published_notice(&controller, "Notice", &[&purpose]).await.notice_id;
    let (values, others) = (Values::new(), Values::new());
    let errors: &mut Vec<Status> = &mut Vec::new();
    let person = sign_up(portal, &values, errors).await;
    let other = sign_up(portal, &others, errors).await;
    for (person, values) in [(&person, &values), (&other, &others)] {
        decide(&person.on(&channel), person, values, (&purpose, &notice), errors).await;
        write_to(portal, (&person.on(&channel), person), values, errors).await;
    }
    let dataset = value(&controller, &person, &values, &purpose, errors).await;
    let valued = finish(&controller, &dataset, (&person, &other), &values).await;
    read(portal, &channel, &operator, &person, &values).await;
    let shown_once = second_factor::turn_on(&channel, &person, &values, errors).await;

    let mut places: Places = vec![("metrics".to_owned(), metrics(portal).await)];
    let bytes = |status: &Status| [status.message().as_bytes(), status.details()].concat();
    places.extend(errors.iter().map(|status| ("an error".to_owned(), bytes(status))));
    let mut canaries = values.canaries();
    canaries.extend(others.canaries());
    canaries.extend(valued);
    canaries.extend(shown_once);
    (canaries, places)
}

/// Lets no mail be sent: somebody else seems to be at it. So what waits to be sent is in the database when the story ends, and
/// not in files, where it may be read.
async fn keep_mail(auth: &Sql, holder: &str) {
    let lease = "INSERT INTO lease (name, holder, term, expires_at) VALUES";
    auth.run(&format!("{lease} ('auth-post', {holder}, 1, {})", i64::MAX)).await;
}

/// Nothing of `canaries` is in `places`.
fn assert_nowhere(canaries: &[Canary], places: &Places) {
    let sought = Sought::new(canaries);
    let found: Vec<String> = places
        .iter()
        .flat_map(|(place, bytes)| {
            let fields = sought.found_in(bytes).into_iter();
            fields.map(|field| format!("{field} in {place}")).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "in the clear:\n  {}", found.join("\n  "));
}

/// `text` is in a place whose name holds `name`.
fn assert_somewhere(text: &str, name: &str, places: &Places) {
    let canaries = [Canary::text("it", text)];
    let sought = Sought::new(&canaries);
    let found = places
        .iter()
        .filter(|(place, _)| place.contains(name))
        .any(|(_, bytes)| !sought.found_in(bytes).is_empty());
    assert!(found, "the search does not find {text} in {name}");
}

/// The sealed columns of a service's data hold something; says how many there are.
async fn all_are_used(sql: &Sql, columns: &str) -> usize {
    let columns = sql.texts(columns).await;
    let mut used = 0;
    for column in columns {
        let (table, name) = column.split_once('.').unwrap();
        if matches!(name, "measure" | "sealed") || name.starts_with("sealed_") && name != "sealed_revision" {
            assert!(
                sql.count(&format!("{table} WHERE {name} IS NOT NULL")).await > 0,
                "the story has nothing in {column}"
            );
            used += 1;
        }
    }
    used
}

#[tokio::test(flavor = "multi_thread")]
async fn no_personal_value_is_written_anywhere_in_the_clear() {
    const COLUMNS: &str = "SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c \
                           WHERE m.type = 'table'";
    let portal = Portal::start_tracing().await;
    let auth = Sql::file(&portal.directory().join("data/auth.db")).await;
    keep_mail(&auth, "x'00'").await;
    auth.close().await;
    let (canaries, mut places) = live(&portal).await;
    // While it runs, with the WAL as it is, and after it has stopped and written all back.
    collect(portal.directory(), &mut places);
    let mut used = 0;
    for service in ["auth", "consent", "valuation"] {
        let sql = Sql::file(&portal.directory().join(format!("data/{service}.db"))).await;
        used += all_are_used(&sql, COLUMNS).await;
        sql.close().await;
    }
    assert_eq!(used, 30, "sealed columns, three of them of kept replies");
    let directory = portal.terminate().await;
    collect(directory.path(), &mut places);

    assert_nowhere(&canaries, &places);
    assert_somewhere(PURPOSE, "consent.db", &places);
    assert_somewhere("store_transactions", "metrics", &places);
    assert_somewhere("TRACE", "stderr.log", &places);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_personal_value_is_written_anywhere_in_the_clear_on_postgres() {
    const COLUMNS: &str = "SELECT table_name || '.' || column_name FROM information_schema.columns \
                           WHERE table_schema = 'public'";
    let Some(server) = EphemeralPostgres::start() else { return };
    let portal = Portal::start_on(&server).await;
    let databases = Sql::at(&server.url("postgres")).await;
    let names = databases
        .texts("SELECT datname::text FROM pg_database WHERE datallowconn AND datname NOT LIKE 'template%'")
        .await;
    for name in &names {
        let sql = Sql::at(&server.url(name)).await;
        if sql.count("information_schema.tables WHERE table_name = 'recovery_request'").await == 1 {
            keep_mail(&sql, "'00000000-0000-0000-0000-000000000000'").await;
        }
        sql.close().await;
    }
    let (canaries, mut places) = live(&portal).await;
    databases.run("CHECKPOINT").await;
    databases.close().await;
    let mut used = 0;
    for name in &names {
        let sql = Sql::at(&server.url(name)).await;
        used += all_are_used(&sql, COLUMNS).await;
        sql.close().await;
        places.push((format!("dump of {name}"), dump(&server, name)));
    }
    assert_eq!((names.len(), used), (6, 30));
    collect(&server.directory().join("data"), &mut places);
    let directory = portal.terminate().await;
    collect(directory.path(), &mut places);

    assert_nowhere(&canaries, &places);
    for place in ["pg_wal", "base", "dump"] {
        assert_somewhere(PURPOSE, place, &places);
    }
    assert_somewhere("store_transactions", "metrics", &places);
    assert_somewhere("TRACE", "stderr.log", &places);
}

/// A dump as an operator takes one.
fn dump(server: &EphemeralPostgres, database: &str) -> Vec<u8> {
    let newest = (15..=19).rev().map(|version| format!("/usr/lib/postgresql/{version}/bin/pg_dump"));
    let program =
        newest.into_iter().find(|path| Path::new(path).exists()).unwrap_or_else(|| "pg_dump".to_owned());
    let dump = Command::new(program).arg(server.url(database)).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    dump.stdout
}

//! A migration of many rows whose process is killed with -9 every few seconds: none is missed, none is moved twice, and a
//! roll-back gives what was there.
//!
//! The process is a real one: this test program, which runs [`the_child`] and nothing else. Rows are sealed under the keys of
//! thousands of people, with a root key in a file and a key database. That no row is moved or put back twice is watched by
//! triggers in the database itself.
//!
//! 200,000 rows, or as many as the environment variable `PORTAL_CHAOS_ROWS` says: ten million by night.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portal_core::entropy::random_bytes;
use portal_core::{SeededEntropy, SystemClock, SystemEntropy};
use portal_crypto::hash::sha256;
use portal_keys::{Ambient, KeysConfig, Provider};
use portal_store::{Database, DatabaseConfig, Metrics, StoreError};
use portal_testkit::EphemeralPostgres;
use portal_upkeep::migration::{Migration, Operation, State};
use sea_orm::prelude::*;
use sea_orm::{ConnectionTrait, QueryOrder, QuerySelect};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::people::{Keys, SCOPE};
use crate::steering::apply;
use crate::toy::{Crypto, NAME, Process, SEAL_NAMES, Schema, person};

const PEOPLE: u128 = 5_000;
/// Rows that are written, or read, at once.
const PART: u128 = 10_000;
/// Where the child finds its data and its keys.
const CHILD: &str = "PORTAL_CHAOS_CHILD";

#[expect(clippy::disallowed_methods, reason = "a test has no configuration file")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn rows() -> u128 {
    variable("PORTAL_CHAOS_ROWS").map_or(200_000, |rows| rows.parse().unwrap())
}

/// Where everything is.
struct Place {
    directory: TempDir,
    url: String,
    _server: Option<EphemeralPostgres>,
}

fn keys_config(directory: &Path) -> KeysConfig {
    toml::from_str(&std::fs::read_to_string(directory.join("keys.toml")).unwrap()).unwrap()
}

async fn process(directory: &Path, url: &str) -> Process {
    let config = DatabaseConfig::from_url(url);
    let database = Database::connect(&config, Arc::new(SystemEntropy), Metrics::default()).await.unwrap();
    portal_store::migrate::up::<Schema>(&database).await.unwrap();
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let ambient = Ambient { clock, entropy, metrics: portal_keys::Metrics::default() };
    let keys = portal_keys::Keys::open(&keys_config(directory), SCOPE, ambient).await.unwrap();
    Process::on(&database, Crypto::with(Keys::of_service(keys, PEOPLE)))
}

/// What the child does: it runs migrations until it is killed, or until its parent is gone. Nothing, in a test run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child() {
    let Some(place) = variable(CHILD) else { return };
    let (directory, url) = place.split_once('|').unwrap();
    let process = process(Path::new(directory), url).await;
    let parent_is_gone = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    process.migrations.run(async move { drop(parent_is_gone.await) }).await;
}

impl Place {
    async fn new(
        url: impl FnOnce(&Path) -> String,
        keys_url: String,
        server: Option<EphemeralPostgres>,
    ) -> Self {
        let directory = TempDir::with_prefix("portal-upkeep-").unwrap();
        let root = directory.path().join("root-keys");
        let section = format!("provider = \"file\"\nroot_key_file = {root:?}\ndatabase_url = {keys_url:?}\n");
        std::fs::write(directory.path().join("keys.toml"), section).unwrap();
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        Provider::create(&keys_config(directory.path()), clock, entropy).await.unwrap();
        Self { url: url(directory.path()), directory, _server: server }
    }

    async fn process(&self) -> Process {
        process(self.directory.path(), &self.url).await
    }

    fn child(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "chaos::the_child", "--nocapture"])
            .env(CHILD, format!("{}|{}", self.directory.path().display(), self.url))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// The database itself refuses to seal a row twice, or to put it back twice.
async fn refuse_twice(database: &Database) {
    let on_postgres = format!("{database:?}").contains("PostgreSQL");
    let refuse = database.run_tx("refuse_twice", |tx| async move {
        for (table, when) in [("moved", "IS NOT NULL"), ("put_back", "IS NULL")] {
            let trigger =
                format!("CREATE TRIGGER {table}_once AFTER UPDATE OF name_sealed ON person FOR EACH ROW");
            let sql = if on_postgres {
                format!(
                    "CREATE TABLE {table} (id uuid PRIMARY KEY);
                     CREATE FUNCTION {table}_once() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN INSERT INTO {table} VALUES (NEW.id); RETURN NULL; END';
                     {trigger} WHEN (NEW.name_sealed {when}) EXECUTE FUNCTION {table}_once();"
                )
            } else {
                format!(
                    "CREATE TABLE {table} (id BLOB PRIMARY KEY) WITHOUT ROWID;
                     {trigger} WHEN NEW.name_sealed {when} BEGIN INSERT INTO {table} VALUES (NEW.id); END;"
                )
            };
            tx.conn().execute_unprepared(&sql).await?;
        }
        Ok::<_, StoreError>(())
    });
    refuse.await.unwrap();
}

/// In which form names are read.
#[derive(Clone, Copy)]
enum Form {
    /// As they stand, and there is no other one.
    Plain,
    /// By opening the cell and checking the digest.
    Sealed,
}

/// SHA-256 over all ids and names, part by part, and how many there are.
async fn logical_hash(process: &Process, form: Form) -> ([u8; 32], u128) {
    let crypto = &process.repository.crypto;
    let (mut hash, mut count, mut after) = ([0; 32], 0, None);
    loop {
        let part = process.database().read("part", |tx| async move {
            let mut query = person::Entity::find().order_by_asc(person::Column::Id);
            if let Some(after) = after {
                query = query.filter(person::Column::Id.gt(after));
            }
            Ok::<_, StoreError>(query.limit(u64::try_from(PART).unwrap()).all(tx.conn()).await?)
        });
        let part = part.await.unwrap();
        let Some(last) = part.last() else { return (hash, count) };
        after = Some(last.id);
        count += part.len() as u128;
        crypto.warm(&part).await.unwrap();
        let mut text = hash.to_vec();
        for row in &part {
            let name = match form {
                Form::Plain => {
                    assert!(row.name_sealed.is_none() && row.digest.is_none(), "{}", row.id);
                    row.name.clone().unwrap()
                }
                Form::Sealed => {
                    crypto.digests.check(row).unwrap();
                    let (key, sealed) = (crypto.keys.of(row.subject).unwrap(), row.name_sealed.as_ref());
                    NAME.open_option(
                        &crypto.sealing,
                        &key,
                        portal_store::sealed::DigestedRow::row(row),
                        sealed,
                    )
                    .unwrap()
                    .unwrap()
                }
            };
            text.extend(format!("{}={name}\n", row.id).into_bytes());
        }
        hash = sha256(&text);
    }
}

async fn found(watcher: &Process) -> Migration {
    watcher.migrations.find(SEAL_NAMES).await.unwrap()
}

/// Lets children work until nothing is left to do, and kills one after the other: each of them did a batch at least, and
/// worked for some seconds or for some part of the rows at most. Says how many were killed.
async fn kill_until_done(place: &Place, watcher: &Process, entropy: &SeededEntropy) -> u32 {
    let mut kills = 0;
    loop {
        let mut child = place.child();
        let [patience, part] = random_bytes::<2>(entropy).map(u128::from);
        let part = u64::try_from(rows() * (part + 64) / 1_280).unwrap();
        let begun = found(watcher).await;
        let begun = (begun.record.state, begun.progress.step_done);
        let end = Instant::now() + Duration::from_millis(1_000 + 12 * u64::try_from(patience).unwrap());
        let is_done = loop {
            let now = found(watcher).await;
            if now.record.state.active().is_none() {
                break true;
            }
            let (state, done) = (now.record.state, now.progress.step_done);
            let is_enough = state != begun.0 || done >= begun.1 + part;
            if is_enough || done > begun.1 && Instant::now() > end {
                break false;
            }
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        child.kill().unwrap();
        child.wait().unwrap();
        if is_done {
            return kills;
        }
        kills += 1;
    }
}

async fn killed_again_and_again(place: &Place) {
    let (watcher, rows) = (place.process().await, rows());
    for begin in (0..rows).step_by(usize::try_from(PART).unwrap()) {
        watcher.fill_range(begin..rows.min(begin + PART)).await;
    }
    refuse_twice(watcher.database()).await;
    let before = logical_hash(&watcher, Form::Plain).await;
    let entropy = SeededEntropy::new(4);

    apply(&watcher, Operation::Start { max_rows_per_second: None }).await;
    let kills = kill_until_done(place, &watcher, &entropy).await;
    assert!(kills >= 6, "{kills} kills");
    let done = found(&watcher).await;
    assert_eq!((done.record.state, done.record.failure_reason), (State::Done, None));
    let counts = (done.progress.rows_total, done.progress.rows_done, done.progress.rows_verified);
    let all = u64::try_from(rows).unwrap();
    assert_eq!(counts, (all, all, all), "none missed, none twice");
    assert_eq!(logical_hash(&watcher, Form::Sealed).await, before);

    apply(&watcher, Operation::RollBack).await;
    let kills = kill_until_done(place, &watcher, &entropy).await;
    assert!(kills >= 3, "{kills} kills");
    let back = found(&watcher).await;
    assert_eq!(
        (back.record.state, back.progress.rows_done, back.progress.step_done),
        (State::RolledBack, 0, all)
    );
    assert_eq!(logical_hash(&watcher, Form::Plain).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_sqlite() {
    let keys = TempDir::with_prefix("portal-keys-").unwrap();
    let keys_url = format!("sqlite:{}", keys.path().join("keys.db").display());
    let url = |directory: &Path| format!("sqlite:{}", directory.join("test.db").display());
    killed_again_and_again(&Place::new(url, keys_url, None).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_postgres() {
    let Some(server) = EphemeralPostgres::start() else { return };
    let (url, keys_url) = (server.fresh_url().await, server.fresh_url().await);
    killed_again_and_again(&Place::new(|_| url, keys_url, Some(server)).await).await;
}

//! Integrity scans find each kind of damage, nothing on clean data, and go on where a killed process stopped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use portal_core::id::{EpochId, Id, SubjectId, TenantId};
use portal_core::{ManualClock, SystemClock, SystemEntropy, Timestamp, Workload};
use portal_crypto::envelope::Scope;
use portal_crypto::suite::{Algorithm, Suites};
use portal_keys::{Ambient, Keys, KeysError};
use portal_store::{Corruption, Database, Metrics, ReadTx, StoreError, Tx};
use portal_testkit::{TestDatabase, each_database};
use portal_upkeep::migration::Operation;
use portal_upkeep::scan::report::ReportedFinding;
use portal_upkeep::scan::{
    Checked, Finding, Report, ScanError, ScanRefusal, ScanState, ScannedTable, Scans, shred_ledger,
};
use portal_upkeep::{Host, IntegrityConfig, Page};
use prometheus_client::registry::Registry;
use sea_orm::ConnectionTrait;
use sea_orm::prelude::Uuid;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::steering::{apply, run};
use crate::toy::{Crypto, NOTE, Process, ScanPersons, envelope, host, person::Column, subject_of, tamper};

const ROWS: u64 = 700;

/// A table in the new form.
async fn committed(database: &TestDatabase) -> Process {
    let process = Process::start(database).await;
    process.fill(ROWS.into()).await;
    for operation in [Operation::Start { max_rows_per_second: None }, Operation::Commit] {
        apply(&process, operation).await;
        run(&process).await;
    }
    process
}

async fn scan(process: &Process) -> (Report, Vec<ReportedFinding>) {
    process.scans.start(&[], None).await.unwrap();
    process.scans.run_until_idle().await.unwrap();
    process.scans.report(None).await.unwrap().unwrap()
}

fn finding(id: u128, column: &str, cause: Corruption) -> (String, String, Corruption) {
    (Uuid::from_u128(id).to_string(), column.to_owned(), cause)
}

each_database! {
    /// Every row is read and nothing is found.
    async fn nothing_on_clean_data(database) {
        let process = committed(database).await;
        let (report, findings) = scan(&process).await;
        assert_eq!((report.state, report.rows_checked, report.rows_total), (ScanState::Clean, ROWS, ROWS));
        assert_eq!((report.finding_count, findings), (0, Vec::new()));
        assert!(report.ended_at.is_some());
    }

    /// Told to stop, a process ends, though its database is gone and it can't give back its lease.
    async fn stops_without_its_database(database) {
        let process = committed(database).await;
        process.scans.start(&[], None).await.unwrap();
        let database = process.database().clone();
        let stop = async move { database.close().await };
        tokio::time::timeout(Duration::from_secs(60), process.scans.run(stop)).await.unwrap();
    }

    /// One row for each way in which somebody with the database can damage it.
    async fn finds_each_cause(database) {
        let process = committed(database).await;
        let older = envelope(process.rows().await[1].name_sealed.as_ref());
        process.repository.put(1, "a newer name").await.unwrap();
        let rows = process.rows().await;
        let database_ = process.database();
        let sealed = |id: usize| envelope(rows[id].name_sealed.as_ref());
        let same_person = (4..).find(|id| subject_of(*id as u128) == subject_of(3)).unwrap();
        assert_ne!(subject_of(5), subject_of(6));
        let note = {
            let key = process.repository.crypto.keys.of(rows[7].subject).unwrap();
            let row = portal_store::sealed::DigestedRow::row(&rows[7]);
            NOTE.seal(&process.repository.crypto.sealing, &key, row, &"a note".to_owned()).unwrap().into_envelope()
        };
        let flipped = {
            let mut flipped = sealed(2);
            flipped[60] ^= 0x10;
            flipped
        };
        let tampered = [
            (1, Column::NameSealed, older, Corruption::EnvelopeRefused),
            (2, Column::NameSealed, flipped, Corruption::EnvelopeRefused),
            (3, Column::NameSealed, sealed(same_person), Corruption::EnvelopeRefused),
            (5, Column::NameSealed, sealed(6), Corruption::EnvelopeRefused),
            (7, Column::NameSealed, note, Corruption::EnvelopeRefused),
            (8, Column::NameSealed, sealed(8)[..17].to_vec(), Corruption::EnvelopeMalformed),
            (9, Column::NameSealed, [sealed(9).as_slice(), b"!"].concat(), Corruption::EnvelopeRefused),
            (10, Column::NameSealed, [&[9], &sealed(10)[1..]].concat(), Corruption::EnvelopeMalformed),
            (11, Column::Digest, vec![1; 32], Corruption::DigestMismatch),
        ];
        let mut expected = BTreeSet::new();
        for (id, column, bytes, cause) in tampered {
            tamper(database_, id, column, bytes).await;
            let name = if cause == Corruption::DigestMismatch { "" } else { "name_sealed" };
            expected.insert(finding(id, name, cause));
        }
        tamper(database_, 12, Column::Name, "put in beside the sealed one").await;
        expected.insert(finding(12, "", Corruption::DigestMismatch));
        tamper(database_, 13, Column::Version, 7_i64).await;
        expected.insert(finding(13, "name_sealed", Corruption::EnvelopeRefused));
        // No key opens what was sealed under generation 2.
        tamper(database_, 14, Column::NameSealed, [&sealed(14)[..5], &[2], &sealed(14)[6..]].concat()).await;
        expected.insert(finding(14, "name_sealed", Corruption::KeyMissing));

        let (report, findings) = scan(&process).await;
        let found: BTreeSet<_> = findings.iter().map(|found| (found.row.clone(), found.column.clone(), found.cause)).collect();
        assert_eq!(found, expected);
        assert_eq!((report.state, report.finding_count), (ScanState::Faulty, expected.len() as u64));
        assert!(findings.iter().all(|finding| finding.table == "person"));
    }

    /// The key of one person is gone: exactly that person's rows are found.
    async fn finds_a_destroyed_key(database) {
        let process = committed(database).await;
        let mut crypto = Crypto::new();
        crypto.keys.destroyed = Some(7);
        let process = Process::on(process.database(), crypto);
        let (_, findings) = scan(&process).await;
        let found: BTreeSet<_> = findings.iter().map(|finding| finding.row.clone()).collect();
        let expected = (0..u128::from(ROWS)).filter(|id| subject_of(*id) == 7).map(|id| Uuid::from_u128(id).to_string());
        assert_eq!(found, expected.collect());
        assert!(findings.iter().all(|finding| finding.cause == Corruption::KeyMissing));
    }

    /// All faults are counted, a thousand are kept.
    async fn keeps_the_first_thousand(database) {
        let process = Process::start(database).await;
        process.fill(1_300).await;
        let (report, findings) = scan(&process).await;
        assert_eq!((report.finding_count, findings.len()), (1_300, 1_000), "rows without digests");
    }

    /// The task is dropped somewhere; another process goes on when the lease is over, and every row is read once.
    async fn goes_on_where_it_stopped(database) {
        let process = committed(database).await;
        process.scans.start(&[], Some(400)).await.unwrap();
        let mut running = JoinSet::new();
        let scans = process.scans.clone();
        running.spawn(async move { scans.run_until_idle().await });
        let progress = || async { process.scans.report(None).await.unwrap().unwrap().0 };
        while progress().await.rows_checked == 0 {
            tokio::task::yield_now().await;
        }
        running.shutdown().await;
        let stopped = progress().await;
        assert!(stopped.rows_checked < ROWS && stopped.state == ScanState::Running);
        assert!(matches!(process.scans.start(&[], None).await, Err(ScanRefusal::Running)));

        // Twenty seconds later the lease is over.
        let later = Timestamp::from_micros(stopped.updated_at.as_micros()).plus(Duration::from_secs(20));
        let crypto = Arc::new(Crypto::new());
        let host = Host { clock: Arc::new(ManualClock::new(later)), ..host(process.database(), Arc::new(SystemEntropy)) };
        let other = Scans::new(&host, IntegrityConfig::on_demand(), vec![Arc::new(ScanPersons { crypto })]);
        other.run_until_idle().await.unwrap();
        let (report, _) = other.report(Some(stopped.id)).await.unwrap().unwrap();
        assert_eq!((report.state, report.rows_checked), (ScanState::Clean, ROWS));
    }

    /// At the time that the schedule says, once, also when two processes look.
    async fn begins_by_the_schedule(database) {
        let process = committed(database).await;
        let midnight = Timestamp::from_seconds(1_795_305_600);
        let clock = Arc::new(ManualClock::new(midnight));
        let mut registry = Registry::default();
        let metrics = portal_upkeep::Metrics::register(&mut registry);
        let host = Host { clock: Arc::clone(&clock) as _, metrics, ..host(process.database(), Arc::new(SystemEntropy)) };
        let crypto = Arc::new(Crypto::new());
        let scans = || {
            let persons: Arc<dyn ScannedTable> = Arc::new(ScanPersons { crypto: Arc::clone(&crypto) });
            Scans::new(&host, IntegrityConfig::default(), vec![persons])
        };
        let (one, two) = (scans(), scans());
        one.run_until_idle().await.unwrap();
        assert!(one.report(None).await.unwrap().is_none(), "it was not due since the process began");
        clock.advance(Duration::from_secs(3 * 3_600 + 17 * 60));
        one.run_until_idle().await.unwrap();
        let (first, _) = one.report(None).await.unwrap().unwrap();
        assert_eq!((first.state, first.started_at), (ScanState::Clean, midnight.plus(Duration::from_secs(11_820))));
        two.run_until_idle().await.unwrap();
        clock.advance(Duration::from_secs(3_600));
        two.run_until_idle().await.unwrap();
        assert_eq!(two.report(None).await.unwrap().unwrap().0.id, first.id);
        clock.advance(Duration::from_secs(24 * 3_600));
        two.run_until_idle().await.unwrap();
        assert_ne!(two.report(None).await.unwrap().unwrap().0.id, first.id);

        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("integrity_rows_checked_total{service=\"consent\",table=\"person\"} 1400"), "{text}");
        assert!(text.contains("integrity_last_end_timestamp_seconds{service=\"consent\"} 1795407420"), "{text}");
    }

    /// At a row each second the first page is enough for four minutes: the scan does not go on meanwhile.
    async fn keeps_to_its_rate(database) {
        let process = committed(database).await;
        process.scans.start(&[], Some(1)).await.unwrap();
        let checked = || async { process.scans.report(None).await.unwrap().unwrap().0.rows_checked };
        let looks = async {
            while checked().await == 0 {}
            for _ in 0..200 {
                tokio::task::yield_now().await;
                assert!(checked().await < ROWS);
            }
        };
        tokio::select! {
            ended = process.scans.run_until_idle() => panic!("it has read everything: {ended:?}"),
            () = looks => {}
        }
    }

    /// While one process is at it, another one leaves it alone.
    async fn one_at_a_time(database) {
        let process = committed(database).await;
        let host = host(process.database(), Arc::new(SystemEntropy));
        let scans = || {
            let table = Arc::new(Slow::default());
            let scans = Scans::new(&host, IntegrityConfig::on_demand(), vec![Arc::clone(&table) as Arc<dyn ScannedTable>]);
            (table, scans)
        };
        let ((first, one), (second, two)) = (scans(), scans());
        one.start(&[], None).await.unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move { one.run_until_idle().await });
        first.reading.notified().await;
        two.run_until_idle().await.unwrap();
        assert_eq!(second.pages.load(Ordering::SeqCst), 0, "both read the same page");
        first.go_on.notify_one();
        running.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!((first.pages.load(Ordering::SeqCst), second.pages.load(Ordering::SeqCst)), (1, 0));
        assert_eq!(two.report(None).await.unwrap().unwrap().0.state, ScanState::Clean);
    }

    /// Rows whose key is switched off are counted, and keep no other from being checked. The scan has not seen
    /// everything, and is not taken for one that has.
    async fn counts_what_it_can_not_check(database) {
        let process = Process::start(database).await;
        let mut registry = Registry::default();
        let metrics = portal_upkeep::Metrics::register(&mut registry);
        let host = Host { metrics, ..host(process.database(), Arc::new(SystemEntropy)) };
        let faulty: Arc<dyn ScannedTable> = Arc::new(Flicker { seen: AtomicU64::new(1) });
        let scans = Scans::new(&host, IntegrityConfig::on_demand(), vec![Arc::new(SwitchedOff), faulty]);
        scans.start(&[], None).await.unwrap();
        scans.run_until_idle().await.unwrap();
        let (report, findings) = scans.report(None).await.unwrap().unwrap();
        assert_eq!((report.rows_checked, report.rows_unchecked, report.state), (4, 2, ScanState::Failed));
        assert_eq!(findings.len(), 1, "the table after it is checked all the same");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(!text.contains("integrity_last_end_timestamp_seconds{"), "{text}");
    }

    /// Each link of the ledger of erasures is checked, also the last one, and an entry that is missing is found.
    async fn checks_the_ledger_of_erasures(database) {
        let process = committed(database).await;
        let config = database.keys("consent").await;
        let scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let keys = Keys::open(&config, scope, Ambient { clock, entropy, metrics: Default::default() }).await.unwrap();
        for person in 1..=300_u128 {
            keys.erase(SubjectId::from_uuid(Uuid::from_u128(person))).await.unwrap();
        }
        let host = host(process.database(), Arc::new(SystemEntropy));
        let scans = Scans::with_ledger(&host, IntegrityConfig::on_demand(), Vec::new(), Some(shred_ledger(&keys)));
        let found = async || {
            scans.start(&["shred".to_owned()], None).await.unwrap();
            scans.run_until_idle().await.unwrap();
            let (report, findings) = scans.report(None).await.unwrap().unwrap();
            let places: Vec<_> = findings.iter().map(|found| (found.row.clone(), found.column.clone(), found.cause)).collect();
            (report.ledger_entries_checked, places)
        };
        assert_eq!(found().await, (300, Vec::new()));
        let store = Database::connect(&config.database, Arc::new(SystemEntropy), Metrics::default()).await.unwrap();
        let run = async |sql: &str| {
            let run = |tx: Tx| async move {
                Ok::<_, StoreError>(tx.conn().execute_unprepared(sql).await?.rows_affected())
            };
            assert_eq!(store.run_tx("sql", run).await.unwrap(), 1, "{sql}");
        };
        let broken = |row: &str| (row.to_owned(), "link".to_owned(), Corruption::LedgerMismatch);
        run("UPDATE shred SET keys = keys + 1 WHERE position = 7").await;
        assert_eq!(found().await, (300, vec![broken("7")]));
        run("UPDATE shred SET keys = keys - 1 WHERE position = 7").await;
        run("DELETE FROM shred WHERE position = 270").await;
        assert_eq!(found().await.1[0], broken("270"));
        run("DELETE FROM shred WHERE position = 300").await;
        assert_eq!(found().await.1.last(), Some(&broken("300")));
        keys.close().await;
    }

    /// A fault that is gone when it is looked at again is none; a ledger is counted apart.
    async fn looks_twice(database) {
        let process = Process::start(database).await;
        let flicker: Arc<dyn ScannedTable> = Arc::new(Flicker::default());
        let steady: Arc<dyn ScannedTable> = Arc::new(Flicker { seen: AtomicU64::new(1) });
        let host = host(process.database(), Arc::new(SystemEntropy));
        let scans = Scans::with_ledger(&host, IntegrityConfig::on_demand(), vec![flicker], Some(steady));
        let unknown = scans.start(&["flicker".to_owned(), "x".to_owned()], None).await;
        assert!(matches!(unknown, Err(ScanRefusal::UnknownTable { index: 1 })));
        scans.start(&[], None).await.unwrap();
        scans.run_until_idle().await.unwrap();
        let (report, findings) = scans.report(None).await.unwrap().unwrap();
        assert_eq!((report.rows_checked, report.ledger_entries_checked), (3, 3));
        assert_eq!((report.finding_count, findings[0].cause), (1, Corruption::LedgerMissing));
    }
}

/// Shows a fault at the first look alone, or always.
#[derive(Default)]
struct Flicker {
    seen: AtomicU64,
}

#[async_trait]
impl ScannedTable for Flicker {
    fn table(&self) -> &'static str {
        if self.seen.load(Ordering::SeqCst) == 1 { "steady" } else { "flicker" }
    }

    async fn count(&self, _: &ReadTx) -> Result<u64, ScanError> {
        Ok(3)
    }

    async fn check_page(&self, _: &ReadTx, _: &Page) -> Result<Checked, ScanError> {
        let mut checked = Checked { rows: 3, ..Checked::default() };
        let finding =
            Finding { table: "flicker", row: "1".to_owned(), column: "", cause: Corruption::LedgerMissing };
        match self.seen.load(Ordering::SeqCst) {
            0 => {
                self.seen.store(2, Ordering::SeqCst);
                checked.findings.push(finding);
            }
            1 => checked.findings.push(finding),
            _ => {}
        }
        Ok(checked)
    }
}

/// One page, which takes until somebody says so.
#[derive(Default)]
struct Slow {
    pages: AtomicU64,
    reading: Notify,
    go_on: Notify,
}

#[async_trait]
impl ScannedTable for Slow {
    fn table(&self) -> &'static str {
        "slow"
    }

    async fn count(&self, _: &ReadTx) -> Result<u64, ScanError> {
        Ok(1)
    }

    async fn check_page(&self, _: &ReadTx, _: &Page) -> Result<Checked, ScanError> {
        self.pages.fetch_add(1, Ordering::SeqCst);
        self.reading.notify_one();
        self.go_on.notified().await;
        Ok(Checked { rows: 1, ..Checked::default() })
    }
}

/// Of its three rows two are sealed under what is switched off.
struct SwitchedOff;

#[async_trait]
impl ScannedTable for SwitchedOff {
    fn table(&self) -> &'static str {
        "switched_off"
    }

    async fn count(&self, _: &ReadTx) -> Result<u64, ScanError> {
        Ok(3)
    }

    async fn check_page(&self, _: &ReadTx, _: &Page) -> Result<Checked, ScanError> {
        let mut checked = Checked { rows: 3, ..Checked::default() };
        checked.note_key(KeysError::EpochDisabled(EpochId::from_uuid(Uuid::nil())))?;
        let off = Suites::all_but([Algorithm::Aes256Gcm]).require(Algorithm::Aes256Gcm).unwrap_err();
        checked.note::<()>(Err(StoreError::Disabled(off)))?;
        Ok(checked)
    }
}

//! The binary as operators have it: a real process, killed again and again, on both databases.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use portal_core::entropy::random_bytes;
use portal_core::{SeededEntropy, SystemClock, SystemEntropy};
use portal_crypto::keyring::Keyring;
use portal_legacy_import::{importer, migration};
use portal_store::{Database, DatabaseConfig, Metrics, StoreError};
use portal_testkit::EphemeralPostgres;
use portal_upkeep::migration::{Progress, Record, State, recorded};
use tempfile::TempDir;

use crate::world::{LEGACY, bytes, execute};

const ROWS: u64 = 2_000;
const BINARY: &str = env!("CARGO_BIN_EXE_portal-legacy-import");

/// A configuration, the files that it names, and a connection to its database.
struct Place {
    directory: TempDir,
    database: Database,
    _server: Option<EphemeralPostgres>,
}

/// How a command ended, and what it said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    async fn new(server: Option<EphemeralPostgres>, rows: u64) -> Self {
        let directory = TempDir::with_prefix("portal-legacy-").unwrap();
        fixture(directory.path(), rows);
        let path = |name: &str| directory.path().join(name);
        let keyring = Keyring::generate(portal_core::Clock::now(&SystemClock), &SystemEntropy).unwrap();
        write_private(&path("root-keys.json"), keyring.to_file().expose());
        let (url, keys) = match &server {
            Some(server) => (server.fresh_url().await, server.fresh_url().await),
            None => {
                let url = |name: &str| format!("sqlite:{}", path(name).display());
                (url("import.db"), url("keys.db"))
            }
        };
        let config = format!(
            "[database]\nurl = {url:?}\n\
             [keys]\nservice = \"consent\"\nprovider = \"file\"\nroot_key_file = {:?}\ndatabase_url = {keys:?}\n\
             [legacy]\nkyber768_private_files = [{:?}]\ndilithium3_public_files = [{:?}]\n",
            path("root-keys.json"),
            path("kyber768.private"),
            path("dilithium3.public"),
        );
        fs::write(path("import.toml"), config).unwrap();
        let config = DatabaseConfig::from_url(url);
        let database = Database::connect(&config, Arc::new(SystemEntropy), Metrics::default()).await.unwrap();
        Self { directory, database, _server: server }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--config").arg(self.directory.path().join("import.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end. Whatever it says, nothing of it is content.
    fn said(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let said = Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        for content in ["legacy.example", "Müller", "Street", "+49"] {
            let told = [&said.out, &said.err].into_iter().flat_map(|text| text.split_whitespace());
            let mut values = told.filter(|word| word.len() < 32);
            assert!(!values.any(|word| word.contains(content)), "{arguments:?}: {content}");
        }
        said
    }

    /// Runs a command that does all that it is asked to.
    fn done(&self, arguments: &[&str]) -> Said {
        let said = self.said(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}\n{}{}", said.out, said.err);
        said
    }

    fn load(&self) -> Said {
        let export = self.directory.path().join("legacy-records.jsonl");
        self.said(&["load", export.to_str().unwrap()])
    }

    /// What `digest` says of a table: number of records, digest.
    fn digest(&self, table: &str) -> (u64, String) {
        let said = self.said(&["digest"]).out;
        let line = said.lines().find(|line| line.starts_with(table)).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[2].parse().unwrap(), words[1].to_owned())
    }

    /// What the fixture says that is in it.
    fn manifest(&self) -> String {
        let text = fs::read_to_string(self.directory.path().join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        manifest["content_sha256"].as_str().unwrap().to_owned()
    }

    async fn legacy_bytes(&self) -> Vec<Vec<Vec<u8>>> {
        bytes(&self.database, "legacy_record", &LEGACY).await
    }

    async fn recorded(&self) -> Option<(Record, Progress)> {
        let read = self.database.read::<_, StoreError, _, _>("recorded", |tx| async move {
            recorded(&tx, migration::NAME).await
        });
        read.await.unwrap()
    }

    async fn counts(&self) -> importer::Counts {
        let read = self
            .database
            .read::<_, StoreError, _, _>("counts", |tx| async move { importer::Counts::read(&tx).await });
        read.await.unwrap()
    }

    /// Waits until an operation has done `rows` more rows, or `child` has ended. Says whether it is still at work.
    async fn is_after(&self, rows: u64, child: &mut Child) -> bool {
        let position = async || {
            let (record, progress) = self.recorded().await?;
            Some((record.state.active()?, progress.step_done))
        };
        let before = position().await;
        loop {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let now = position().await;
            let far = match (before, now) {
                (Some((step, before)), Some((same, now))) if step == same => now >= before + rows,
                (_, Some((_, now))) => now >= rows,
                (_, None) => false,
            };
            if far {
                return true;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Does `arguments` with processes that are killed in the middle, and then one that is not. Says how many were.
    async fn killed(&self, arguments: &[&str], entropy: &SeededEntropy) -> u32 {
        let mut kills = 0;
        while kills < 3 {
            let mut child =
                self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let rows = u64::from(u16::from_be_bytes(random_bytes(entropy)) % 400);
            let at_work = self.is_after(rows, &mut child).await;
            child.kill().unwrap();
            child.wait().unwrap();
            if !at_work {
                break;
            }
            kills += 1;
        }
        kills
    }
}

/// What an earlier system would leave, written by the example.
fn fixture(directory: &Path, rows: u64) {
    let target: PathBuf = Path::new(BINARY).parent().unwrap().join("examples/legacy_fixture");
    if !target.exists() {
        let build = ["build", "-q", "-p", "portal-legacy-import", "--example", "legacy_fixture"];
        assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
    }
    let rows = rows.to_string();
    let out = directory.to_str().unwrap();
    let status = Command::new(target).args(["--rows", &rows, "--out", out, "--seed", "60"]).status();
    assert!(status.unwrap().success());
}

fn write_private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// 2,000 records; every operation is killed with -9 three times, somewhere.
async fn killed_processes(place: Place) {
    let entropy = SeededEntropy::new(6);
    let loaded = place.load();
    assert!(loaded.out.starts_with("loaded   2000 records\n"), "{}{}", loaded.out, loaded.err);
    let plan = place.done(&["plan"]);
    assert!(plan.out.contains("people       400\n") && !plan.out.contains("MISSING"), "{}", plan.out);
    assert_eq!(place.digest("legacy"), (ROWS, place.manifest()));
    let before = place.legacy_bytes().await;

    let slowly = ["run", "--max-rows-per-second", "1500"];
    let mut kills = place.killed(&slowly, &entropy).await;
    place.done(&["run"]);
    let (record, progress) = place.recorded().await.unwrap();
    assert_eq!(record.state, State::Done);
    assert_eq!((progress.rows_done, progress.rows_verified), (ROWS, ROWS), "none missed, none twice");
    kills += place.killed(&["verify"], &entropy).await;
    place.done(&["verify"]);
    assert_eq!(place.digest("imported"), (ROWS, place.manifest()));
    assert!(place.legacy_bytes().await == before);

    kills += place.killed(&["rollback"], &entropy).await;
    place.done(&["rollback"]);
    assert_eq!((place.counts().await.legacy, place.counts().await.imported), (ROWS, 0));
    assert_eq!(place.digest("legacy"), (ROWS, place.manifest()));
    assert!(place.legacy_bytes().await == before, "byte for byte");

    place.done(&["run"]);
    place.done(&["scan"]);
    kills += place.killed(&["commit"], &entropy).await;
    let said = place.said(&["commit"]);
    assert!(said.code == Some(0) || said.err.contains("is committed"), "{}{}", said.out, said.err);
    assert_eq!((place.counts().await.legacy, place.counts().await.imported), (0, ROWS));
    assert_eq!(place.digest("imported"), (ROWS, place.manifest()));
    assert!(place.done(&["status"]).out.starts_with("state        done, committed\n"));
    assert!(kills > 5, "{kills} kills");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_sqlite() {
    killed_processes(Place::new(None, ROWS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_postgres() {
    if let Some(server) = EphemeralPostgres::start() {
        killed_processes(Place::new(Some(server), ROWS).await).await;
    }
}

/// Records that can't be read: every command says so by its exit code, and what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_can_not_be_read() {
    let place = Place::new(None, 30).await;
    assert!(place.done(&["status"]).err.contains("next: portal-legacy-import load"));
    assert_eq!(place.load().code, Some(0));
    assert!(place.load().out.contains("present  30 records"), "loaded again");
    let first = "(SELECT min(record_id) FROM legacy_record)";
    let damage = format!("UPDATE legacy_record SET signature = zeroblob(3293) WHERE record_id = {first}");
    execute(&place.database, &damage).await;
    let damage = format!(
        "UPDATE legacy_record SET signer_key_id = zeroblob(16) WHERE record_id = \
                          (SELECT min(record_id) FROM legacy_record WHERE record_id > {first})"
    );
    execute(&place.database, &damage).await;

    let plan = place.said(&["plan"]);
    let missing = format!("dilithium3   {}  1 records, MISSING", "0".repeat(32));
    assert!(plan.code == Some(3) && plan.out.contains(&missing), "{}", plan.out);
    let run = place.said(&["run"]);
    assert!(run.code == Some(3) && run.err.contains("commit --leave-unreadable"), "{}{}", run.out, run.err);
    let status = place.said(&["status"]);
    assert_eq!(status.code, Some(3));
    for told in ["imported     28 records", "bad_signature", "unknown_signer"] {
        assert!(status.out.contains(told), "{}", status.out);
    }
    assert_eq!(status.out.lines().filter(|line| line.starts_with("refused ")).count(), 2);
    let scan = place.said(&["scan"]);
    assert!(scan.code == Some(3) && scan.out.contains("found 2 faults"), "{}", scan.out);
    assert_eq!(place.said(&["digest"]).code, Some(3));

    let commit = place.said(&["commit"]);
    assert_eq!(commit.code, Some(1));
    assert!(
        commit.err.contains("2 legacy records can't be read and would be left behind; see"),
        "{}",
        commit.err
    );
    assert_eq!(place.counts().await.legacy, 30, "refused");
    let commit = place.said(&["commit", "--leave-unreadable"]);
    assert_eq!(commit.code, Some(3), "{}{}", commit.out, commit.err);
    assert_eq!((place.counts().await.legacy, place.counts().await.imported), (2, 28));
    let back = place.said(&["rollback"]);
    assert!(back.code == Some(1) && back.err.contains("there is no way back"), "{}", back.err);
}

/// Everything that is wrong before it begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told() {
    let place = Place::new(None, 5).await;
    let private = place.directory.path().join("kyber768.private");
    fs::set_permissions(&private, Permissions::from_mode(0o644)).unwrap();
    let said = place.said(&["plan"]);
    assert!(said.code == Some(1) && said.err.contains("(mode 644): set it to 600"), "{}", said.err);
    fs::set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
    for command in ["verify", "rollback", "commit"] {
        let said = place.said(&[command]);
        assert!(said.code == Some(1) && said.err.contains("portal-legacy-import "), "{}", said.err);
    }
    let said = place.said(&["run", "--max-rows-per-second", "0"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    fs::write(place.directory.path().join("broken.jsonl"), "{}\n").unwrap();
    let broken = place.directory.path().join("broken.jsonl");
    let said = place.said(&["load", broken.to_str().unwrap()]);
    assert!(said.code == Some(1) && said.err.contains("line 1 of the export"), "{}", said.err);
    // The database of a service, or of a newer version.
    execute(&place.database, "INSERT INTO seaql_migrations VALUES ('m0001_consents', 1)").await;
    let said = place.said(&["status"]);
    assert!(said.code == Some(1) && said.err.contains("give the import one of its own"), "{}", said.err);
    let config = place.directory.path().join("import.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("service = \"consent\"\n", "")).unwrap();
    let said = place.said(&["status"]);
    assert!(said.code == Some(2) && said.err.contains("keys.service: missing"), "{}", said.err);
}

//! A real PostgreSQL for the tests of one process.
//!
//! Invariants: it is reached through a Unix socket in a directory that only its owner can enter, so parallel tests
//! can't collide on a port and nobody else gets in; it keeps nothing and leaves nothing behind.
//!
//! A shell stands between the test process and the server, and reads from a pipe that only the test process holds.
//! When that ends, by whatever cause, SIGKILL included, the pipe closes, and the shell stops the server and removes
//! its files. `initdb` takes a second, so it is run once per machine and installation; servers start from a copy.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use portal_store::DatabaseConfig;
use sea_orm::ConnectionTrait;
use tempfile::TempDir;

/// $1 binaries, $2 template, $3 directory of this server, $4 its memory. Closing its copy of standard error makes the end of the
/// server the end of that pipe.
const KEEPER: &str = r#"
cp -R "$2" "$3/data"
"$1/postgres" -D "$3/data" -k "$3" -c listen_addresses= -c dynamic_shared_memory_type=mmap -c lc_messages=C \
    -c shared_buffers=$4 -c max_connections=200 -c unix_socket_permissions=0700 &
server=$!
exec 2>/dev/null
read -r _
kill -QUIT "$server"
wait "$server"
rm -rf "$3"
"#;

/// What a server takes of the machine.
#[derive(Clone, Copy)]
enum Size {
    /// Little, since each test process has one.
    Small,
    /// What it takes where it is installed and nobody has set anything.
    AsInstalled,
}

impl Size {
    const fn memory(self) -> &'static str {
        match self {
            Self::Small => "16MB",
            Self::AsInstalled => "128MB",
        }
    }

    /// Megabytes of a file of the write-ahead log.
    const fn wal_segment(self) -> &'static str {
        match self {
            Self::Small => "1",
            Self::AsInstalled => "16",
        }
    }
}

/// A PostgreSQL server that stops, with all its data, when this is dropped or its process ends.
pub struct EphemeralPostgres {
    keeper: Child,
    directory: PathBuf,
    databases: AtomicU32,
}

impl EphemeralPostgres {
    /// The server that the tests of this process share, started by the first to ask and stopped by the last to leave.
    /// `None` where PostgreSQL is not installed.
    ///
    /// # Panics
    /// If it does not start; and if it is not installed and the environment variable `PORTAL_REQUIRE_ALL` is `1`.
    #[must_use]
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<EphemeralPostgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// A server for one test alone, which may do to it what it likes. `None` where PostgreSQL is not installed.
    ///
    /// # Panics
    /// As [`EphemeralPostgres::shared`].
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::of(Size::Small)
    }

    /// A server for measurements: with the memory and the log that PostgreSQL has where nobody has set anything.
    ///
    /// # Panics
    /// As [`EphemeralPostgres::shared`].
    #[must_use]
    pub fn as_installed() -> Option<Self> {
        Self::of(Size::AsInstalled)
    }

    fn of(size: Size) -> Option<Self> {
        let Some(installation) = Installation::find() else {
            #[expect(clippy::disallowed_methods, reason = "tests have no configuration file")]
            let required = std::env::var("PORTAL_REQUIRE_ALL").is_ok_and(|value| value == "1");
            assert!(!required, "PORTAL_REQUIRE_ALL=1, but PostgreSQL 15 or newer is not installed");
            eprintln!("skipped: PostgreSQL 15 or newer is not installed");
            return None;
        };
        let template = installation.template(size);
        let directory = installation.directory("portal-postgres-").keep();
        let mut keeper = installation
            .command("sh")
            .args(["-c", KEEPER, "sh"])
            .args([&installation.binaries, &template, &directory])
            .arg(size.memory())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Out of reach of a Ctrl-C or a test runner's kill, which would end it before it has cleaned up.
            .process_group(0)
            .spawn()
            .expect("sh");
        let stderr = keeper.stderr.take().expect("standard error is piped");
        let server = Self { keeper, directory, databases: AtomicU32::new(0) };
        wait_until_ready(stderr);
        Some(server)
    }

    /// An empty database.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn fresh_database(&self) -> DatabaseConfig {
        DatabaseConfig::from_url(self.fresh_url().await)
    }

    /// The URL of an empty database.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn fresh_url(&self) -> String {
        // A new server has an empty database, and most test processes need only one.
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            return self.url("postgres");
        }
        let name = format!("test_{number}");
        let admin = sea_orm::Database::connect(self.url("template1")).await.expect("a connection");
        admin
            .execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await
            .expect("a new database");
        admin.close().await.expect("the connection closes");
        self.url(&name)
    }

    /// The directory of its socket and data.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The URL of one of its databases.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.directory.display())
    }
}

impl Drop for EphemeralPostgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().expect("the keeper of the server ends");
    }
}

/// Reads the server's log until it says that it is ready, and goes on reading so that the server never blocks on it.
fn wait_until_ready(stderr: ChildStderr) {
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let mut log = Vec::new();
    let ready = lines.any(|line| {
        let ready = line.contains("database system is ready to accept connections");
        log.push(line);
        ready
    });
    assert!(ready, "PostgreSQL did not start:\n{}", log.join("\n"));
    std::thread::spawn(move || lines.for_each(drop));
}

/// Where the programs are, and whom they run as.
struct Installation {
    binaries: PathBuf,
    /// User and group id: PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
}

impl Installation {
    fn find() -> Option<Self> {
        let debian = (15..=19).map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let binaries = debian
            .chain(std::env::split_paths(&path))
            // A link may stand alone in its directory: the other programs are where it points.
            .find_map(|directory| Some(directory.join("postgres").canonicalize().ok()?.parent()?.to_owned()))
            .filter(|directory| directory.join("initdb").exists())?;
        Some(Self { binaries, user: unprivileged_user() })
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.current_dir("/");
        command
    }

    /// A new directory that belongs to the user that the server runs as.
    fn directory(&self, prefix: &str) -> TempDir {
        let private = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(private)
            .tempdir()
            .expect("a temporary directory");
        if let Some((user, group)) = self.user {
            chown(directory.path(), Some(user), Some(group)).expect("root can give a directory away");
        }
        directory
    }

    /// A data directory as `initdb` makes it. Two processes may make it at once: the first to rename wins.
    fn template(&self, size: Size) -> PathBuf {
        let program = fs::metadata(self.binaries.join("initdb")).expect("initdb");
        let parent = self.directory("portal-postgres-template-");
        let owner = fs::metadata(parent.path()).expect("the directory just made").uid();
        let segment = size.wal_segment();
        let name =
            format!("portal-postgres-template-{owner}-{}-{}-{segment}", program.mtime(), program.ino());
        let template = std::env::temp_dir().join(name);
        match fs::symlink_metadata(&template) {
            Ok(found) => {
                // The place is writable by all: somebody else's directory could hold anything.
                assert!(found.is_dir() && found.uid() == owner, "{} is not ours", template.display());
                return template;
            }
            Err(error) => assert!(error.kind() == ErrorKind::NotFound, "{}: {error}", template.display()),
        }
        let data = parent.path().join("data");
        let output = self
            .command(self.binaries.join("initdb"))
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--wal-segsize", segment, "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        if let Err(error) = fs::rename(&data, &template) {
            assert!(template.is_dir(), "{}: {error}", template.display());
        }
        template
    }
}

/// `nobody`, if this process is root's.
fn unprivileged_user() -> Option<(u32, u32)> {
    let probe = TempDir::new().expect("a temporary directory");
    if fs::metadata(probe.path()).expect("the directory just made").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
    };
    Some(ids("nobody").or_else(|| ids("postgres")).expect("a user to run PostgreSQL as: it refuses root"))
}

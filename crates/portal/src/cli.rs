//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use portal_core::id::{AccountId, ClientId, Id, OperationId, SubjectId};
use portal_core::{Acr, Role, Scope, Workload};
use portal_mesh::edge::authority::EdgeName;

/// A quantum-safe privacy portal: consent, authentication, valuation and a gateway.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the authentication service
    Auth {
        /// Its configuration (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make workload certificates without a cluster
    Certs {
        #[command(subcommand)]
        command: CertsCommand,
    },
    /// Report every problem of a configuration file at once, and of the certificate files and the
    /// policies that it names
    CheckConfig {
        /// The file
        file: PathBuf,
        /// Leave those files alone: it is for another machine
        #[arg(long)]
        no_files: bool,
        /// The service it is for; found out by itself if it fits one
        #[arg(long, value_name = "SERVICE")]
        service: Option<Workload>,
    },
    /// Run the consent service
    Consent {
        /// Its configuration (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Run the gateway
    Gateway {
        /// Its configuration (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Exit with 0 if the process behind the admin port is ready
    Healthcheck {
        /// The admin address
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464")]
        admin: SocketAddr,
    },
    /// Take over what was recorded elsewhere
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
    /// Keys of one service: what there is, rotation, destruction
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// The ledger of one service
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Migrations of one service's database
    Migrate {
        #[command(subcommand)]
        command: MigrateCommand,
    },
    /// Who may call what, and why
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Run everything in one process on an embedded database
    Up(UpOptions),
    /// Run the valuation service
    Valuation {
        /// Its configuration (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check what was handed out, without any service
    Verify {
        #[command(subcommand)]
        command: VerifyCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum VerifyCommand {
    /// A ledger: every entry against the signed head. Exits with 0 if it is what was signed, 1 if not, naming what is
    /// wrong, 2 if a file can't be used
    Ledger {
        /// The service whose database it is in
        #[arg(long, value_name = "SERVICE")]
        service: Option<Workload>,
        /// The service's configuration; without it the database of `portal up`
        #[arg(long, value_name = "FILE", conflicts_with = "from")]
        config: Option<PathBuf>,
        /// The data directory of `portal up`
        #[arg(long, value_name = "DIR", default_value = "portal-data")]
        data_dir: PathBuf,
        /// A file that `portal ledger export` has written, instead: no database is needed
        #[arg(long, value_name = "FILE", conflicts_with = "service")]
        from: Option<PathBuf>,
        /// The keys of the ledger, with --from: the JSON answer of GetLedgerKeys, or a verifier key on each line. Without
        /// it those in the file
        #[arg(long, value_name = "FILE", requires = "from")]
        keys: Option<PathBuf>,
    },
    /// A receipt: its signature, its content, its place in the ledger. Exits with 0 if it is valid, 1 if not, 2 if a
    /// file can't be used
    Receipt {
        /// The signed receipt (COSE), or the JSON answer of GetReceipt
        file: PathBuf,
        /// The keys of the ledger: the JSON answer of GetLedgerKeys, a JWK set or a COSE key set
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a folder of policies as a service does that starts. Exits with 2 if it would not
    Check {
        /// The folder
        folder: PathBuf,
    },
    /// Decide as a service would, and name the policies that made the decision. Exits with 0 if it is permitted, 1 if not
    Explain(Box<ExplainOptions>),
    /// The policies in force
    List(InForce),
    /// The words that policies are made of
    Schema,
}

/// Which policies of the operator are in force, beside Portal's.
#[derive(Args, Debug)]
pub struct InForce {
    /// Those that the configuration of this service names
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Those of this folder
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub policies: Option<PathBuf>,
}

/// A question who may. Without a role, an account, a client and a workload nobody is signed in.
#[derive(Args, Debug)]
pub struct ExplainOptions {
    /// What is called, such as portal.consent.v1.ConsentService/GiveConsent
    #[arg(long, value_name = "METHOD")]
    pub method: String,
    /// A role of the account; more than one may be given. An OAuth client has none of its person's but subject
    #[arg(long, value_name = "ROLE", conflicts_with_all = ["client", "scope"])]
    pub role: Vec<Role>,
    /// The account
    #[arg(long, value_name = "ID", value_parser = AccountId::parse)]
    pub account: Option<AccountId>,
    /// The OAuth client that holds the token
    #[arg(long, value_name = "ID", value_parser = ClientId::parse)]
    pub client: Option<ClientId>,
    /// A scope that the OAuth client was given; more than one may be given
    #[arg(long, value_name = "SCOPE")]
    pub scope: Vec<Scope>,
    /// The OAuth client calls for itself, with the role service
    #[arg(long, conflicts_with_all = ["account", "role"])]
    pub itself: bool,
    /// A process of the mesh, on its own behalf
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["account", "client", "itself", "role", "scope"])]
    pub workload: Option<Workload>,
    /// From where the call comes
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<IpAddr>,
    /// How the person proved who they are: mfa, passkey or, if nothing is said, pwd
    #[arg(long, value_name = "ACR", conflicts_with_all = ["itself", "workload"])]
    pub acr: Option<Acr>,
    /// How many seconds ago that was
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub age: u64,
    /// The person has a second factor
    #[arg(long)]
    pub second_factor: bool,
    #[command(flatten)]
    pub in_force: InForce,
}

/// What `portal up` takes.
#[derive(Args, Debug)]
pub struct UpOptions {
    /// Where certificates, keys and databases are kept; made if missing
    #[arg(long, value_name = "DIR", default_value = "portal-data")]
    pub data_dir: PathBuf,
    /// Where the gateway listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where /metrics, /livez and /readyz are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464")]
    pub admin_listen: SocketAddr,
    /// Load a demonstration organisation, once per data directory
    #[arg(long)]
    pub demo: bool,
    /// Serve clients over TLS, with certificates for localhost from an authority in the data directory
    #[arg(long)]
    pub tls: bool,
}

#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// Issue a certificate; makes the certificate authority if DIR has none
    Issue {
        /// Directory of the certificate authority (ca.crt, ca.key)
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// The service it is for
        #[arg(long, value_name = "SERVICE")]
        service: Workload,
        /// Where tls.crt, tls.key and ca.crt are written; default DIR/SERVICE
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Trust domain of a new certificate authority
        #[arg(long, value_name = "NAME", default_value = "portal.local")]
        trust_domain: String,
        /// How long it is valid, in hours, at most 24
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        hours: u64,
    },
    /// Issue the two certificates that the gateway shows to clients, ML-DSA-65 and ECDSA P-256; makes an authority of each
    /// kind if DIR has none. For development, and where clients can be told to trust these authorities
    IssueEdge {
        /// Directory of the authorities (edge-ml-dsa.crt, edge-ml-dsa.key, edge-ecdsa.crt, edge-ecdsa.key)
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// A host's name or an address that clients reach the gateway by; once for each
        #[arg(long = "name", value_name = "NAME", required = true)]
        names: Vec<EdgeName>,
        /// Where ml-dsa.crt, ml-dsa.key, ecdsa.crt, ecdsa.key and ca.crt, both roots, are written; default DIR/edge
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// How long they are valid, in days, at most 90
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        days: u64,
    },
}

#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Decisions of people, through the gateway. Repeated after a cut it goes on where it was. Exits with 1 if a record was
    /// refused
    Consents {
        /// A file with a record a line; docs/runbooks/import.md says which columns
        file: PathBuf,
        /// Its format; told by the name of the file if that ends in .csv or .jsonl
        #[arg(long, value_enum)]
        format: Option<ImportFormat>,
        /// The gateway: on this machine, or anywhere over https
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
        gateway: String,
        /// File with the roots that the gateway's certificate is from, if it is over https
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// File with the access token of a controller
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// Id of the import; without it, it is made of the content of the file, so that the same file goes on
        #[arg(long, value_name = "UUID", value_parser = id::<OperationId>)]
        import_id: Option<OperationId>,
    },
}

/// How records stand in a file.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ImportFormat {
    /// Comma-separated (RFC 4180), with the names of the columns in the first line
    Csv,
    /// A JSON object a line
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub enum MigrateCommand {
    /// Data migrations: rows get another form while the service goes on working
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Show which migrations are applied
    Status(Target),
    /// Apply all that are pending
    Up(Target),
    /// Take back the newest
    Down {
        #[command(flatten)]
        target: Target,
        /// How many
        #[arg(long, default_value_t = 1)]
        steps: u32,
    },
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Drop the old form for good. No earlier version of the service may run any more
    Commit {
        #[command(flatten)]
        target: DataTarget,
        /// Write SQLite's file anew, so that it forgets what an earlier version has deleted. Everybody who writes waits.
        /// Done without being asked while nothing runs on the data directory
        #[arg(long)]
        compact: bool,
    },
    /// Stop after the present batch; `start` goes on
    Pause(DataTarget),
    /// Believe the data that a data migration is not committed, after it was put back from a backup of before. The service
    /// must not run
    Reopen(DataTarget),
    /// Put everything back as it was before the start
    Rollback(DataTarget),
    /// Move the rows and verify them, beside the running service; ends when that is done. Ctrl-C stops it, and `start`
    /// goes on where it stopped
    Start {
        #[command(flatten)]
        target: DataTarget,
        /// Most rows per second, to spare live traffic; 0 for as fast as it goes
        #[arg(long, value_name = "N")]
        max_rows_per_second: Option<u32>,
        /// Only say how many rows there are and how long they would take
        #[arg(long)]
        plan: bool,
    },
    /// Show where they stand
    Status(DataTarget),
    /// Open and compare everything once more
    Verify(DataTarget),
}

/// Which data migrations.
#[derive(Args, Debug)]
pub struct DataTarget {
    /// Its name; all to which it applies without one
    pub name: Option<String>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a keyring file with one root key, unless it is there
    CreateRoot {
        /// The file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// File with the passphrase that seals it, on its first line
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Destroy a key that nothing depends on any more
    Destroy {
        #[command(flatten)]
        target: Target,
        /// Id of the epoch, root or blind index key, as `list` shows it
        #[arg(long, value_name = "ID")]
        key: String,
    },
    /// Destroy all keys of a person and the indexes they are found by: what is sealed opens in no copy any more
    Erase {
        #[command(flatten)]
        target: Target,
        /// Id of the person
        #[arg(long, value_name = "ID", value_parser = id::<SubjectId>)]
        subject: SubjectId,
        /// Where the signed statement is written; must not exist
        #[arg(long, value_name = "FILE")]
        statement: PathBuf,
    },
    /// Write a copy of the shred ledger, to be kept apart from the backups: it names nobody
    ExportShreds {
        #[command(flatten)]
        target: Target,
        /// The file; an older copy is replaced
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Add what a key database that was put back lacks of its shred ledger, and erase again whom it names
    ImportShreds {
        #[command(flatten)]
        target: Target,
        /// The copy
        file: PathBuf,
    },
    /// Show all keys: id, use, algorithm, state, times. No key material
    List {
        #[command(flatten)]
        target: Target,
        /// As a CycloneDX 1.6 cryptography bill of materials (JSON)
        #[arg(long)]
        cyclonedx: bool,
    },
    /// Delete the keys and indexes of erased people again, after a backup of keys or data was put back
    ReplayShreds(Target),
    /// Take an epoch or blind index key out of use: another one takes its place, and what depends on it is wrapped or
    /// indexed again
    Retire {
        #[command(flatten)]
        target: Target,
        /// Id of the key, as `list` shows it; the active epoch without it
        #[arg(long, value_name = "ID")]
        key: Option<String>,
    },
    /// Wrap what retired epochs wrap under the active one. Can be interrupted and repeated
    Rewrap(Target),
    /// Begin a new epoch, make a new root key and wrap under it what the old one wraps, or make a new blind index key
    Rotate {
        #[command(flatten)]
        target: Target,
        /// The root key, not the epoch
        #[arg(long, conflicts_with = "index")]
        root: bool,
        /// The key of the blind index of this column, not the epoch
        #[arg(long, value_name = "TABLE.COLUMN")]
        index: Option<String>,
    },
    /// Print the key that verifies statements of erasure, as a JWK set
    StatementKey(Target),
}

#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// End the log of a service whose database was put back from a backup older than its newest checkpoint, which signs
    /// nothing more (LEDGER_FORKED), and let the service begin another under a new name. Stop the service first
    BeginAnew {
        #[command(flatten)]
        target: Target,
        /// Do it, instead of saying what it means
        #[arg(long)]
        yes: bool,
    },
    /// Write the ledger with its newest checkpoint to a file, which `portal verify ledger --from` verifies
    Export {
        #[command(flatten)]
        target: Target,
        /// The file; an older one is replaced
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Which service's.
#[derive(Args, Debug)]
pub struct Target {
    /// The service it belongs to
    #[arg(long, value_name = "SERVICE")]
    pub service: Workload,
    /// The service's configuration; without it the database of `portal up`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory of `portal up`
    #[arg(long, value_name = "DIR", default_value = "portal-data")]
    pub data_dir: PathBuf,
}

fn id<T: Id>(text: &str) -> Result<T, String> {
    T::parse(text).map_err(|error| error.to_string())
}

//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use portal_core::Workload;

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
    /// Report every problem of a configuration file at once
    CheckConfig {
        /// The file
        file: PathBuf,
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
    /// Schema migrations of one service's database
    Migrate {
        #[command(subcommand)]
        command: MigrateCommand,
    },
    /// Run everything in one process on an embedded database
    Up(UpOptions),
    /// Run the valuation service
    Valuation {
        /// Its configuration (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
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
}

#[derive(Debug, Subcommand)]
pub enum MigrateCommand {
    /// Show which migrations are applied
    Status(MigrateTarget),
    /// Apply all that are pending
    Up(MigrateTarget),
    /// Take back the newest
    Down {
        #[command(flatten)]
        target: MigrateTarget,
        /// How many
        #[arg(long, default_value_t = 1)]
        steps: u32,
    },
}

/// Which database.
#[derive(Args, Debug)]
pub struct MigrateTarget {
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

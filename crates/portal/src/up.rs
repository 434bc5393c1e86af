//! `portal up`: all four services in one process, talking to each other as in a cluster.
//!
//! Each gets a configuration of its own, written as the TOML that a file would hold, and a certificate of its own; they
//! start on ephemeral loopback ports in the order in which they need each other.

mod client;
mod data;
mod demo;
mod layout;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use portal_core::Workload;
use portal_mesh::config::TelemetryConfig;
use portal_mesh::{Running, admin, task, telemetry};
use portal_store::DatabaseConfig;

use crate::cli::UpOptions;
use crate::config::Unusable;
use crate::serve::{Stop, host, runtime};
use crate::services::Config;
use crate::{config, output};
use client::Client;
use data::DataDirectory;
use layout::{Addresses, Layout};

/// Certificates live a day; they are renewed long before.
const RENEW_EVERY: Duration = Duration::from_secs(6 * 3_600);

pub fn run(options: &UpOptions) -> anyhow::Result<()> {
    telemetry::start(&telemetry_config())?;
    let data = DataDirectory::open(&options.data_dir, options.tls.then_some(options.listen.ip()))?;
    runtime()?.block_on(up(options, data))
}

/// The configuration that `portal up` gives `workload` in `data_dir`, for a command that opens its data or keys.
pub fn config(data_dir: &Path, workload: Workload) -> anyhow::Result<Config> {
    let layout = Layout::at(&data_dir.canonicalize().map_err(|error| nothing_there(data_dir, &error))?);
    let file = layout.root_key_file(workload);
    if workload != Workload::Gateway && !file.exists() {
        return Err(Unusable::one(format!("{} is missing: portal up makes it", file.display())).into());
    }
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let upstreams = [(Workload::Auth, nowhere), (Workload::Consent, nowhere)];
    let addresses = Addresses { listen: nowhere, admin_listen: nowhere, upstreams: &upstreams };
    Config::parse(workload, &layout.config(workload, &addresses))
}

/// Where `portal up` keeps the database of `workload`.
pub fn database(data_dir: &Path, workload: Workload) -> DatabaseConfig {
    DatabaseConfig::from_url(format!("sqlite:{}", Layout::at(data_dir).database_file(workload).display()))
}

/// The lock on `data_dir`, unless a process runs on it: until it is dropped, none can start.
pub fn lock(data_dir: &Path) -> anyhow::Result<Option<File>> {
    let file = Layout::at(data_dir).lock();
    let lock = File::create(&file).map_err(|error| nothing_there(data_dir, &error))?;
    Ok(lock.try_lock().is_ok().then_some(lock))
}

fn nothing_there(data_dir: &Path, error: &std::io::Error) -> Unusable {
    Unusable::one(format!("can't open the data directory {}: {error}", data_dir.display()))
}

/// Only what a person should see, unless asked for more.
fn telemetry_config() -> TelemetryConfig {
    let name = "PORTAL__TELEMETRY__LOG";
    let asked = config::environment().into_iter().find(|(variable, _)| variable == name);
    TelemetryConfig { log: asked.map_or_else(|| "warn".to_owned(), |(_, filter)| filter) }
}

async fn up(options: &UpOptions, data: DataDirectory) -> anyhow::Result<()> {
    let stop = Stop::listen()?;
    let host = host();
    let admin = admin::start(options.admin_listen, host.clone()).await?;
    let (edge, mut kept) = edge_address(options.listen)?;
    let mut running: Vec<(Workload, Running)> = Vec::new();
    // In the order in which they need each other.
    for workload in [Workload::Auth, Workload::Consent, Workload::Valuation, Workload::Gateway] {
        let listen = match workload {
            Workload::Gateway => {
                drop(kept.take());
                edge
            }
            Workload::Auth | Workload::Consent | Workload::Valuation => {
                SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
            }
        };
        let upstreams: Vec<_> =
            running.iter().map(|(workload, running)| (*workload, running.local_addr())).collect();
        let mut config = data.config(workload, listen, options.admin_listen, &upstreams);
        if workload == Workload::Auth {
            config.push_str(&data.mail(edge));
        }
        if workload == Workload::Gateway && options.listen.ip().is_loopback() {
            data.mailbox_key()?;
            config.push_str(&data.mailbox());
        }
        let config = Config::parse(workload, &config)?;
        let service = config.start(host.clone()).await.with_context(|| format!("{workload} can't start"))?;
        running.push((workload, service));
        data.secret_is_sealed(workload)?;
    }
    if let Some((_, gateway)) = running.last() {
        let edge = gateway.local_addr();
        let demonstration = match options.demo {
            true => {
                let client = Client::connect(edge, data.edge_roots().as_deref()).await?;
                Some(demo::load(client, data.path(), &data.operator_password()?).await?)
            }
            false => None,
        };
        welcome(&data, edge, admin.local_addr(), demonstration)?;
    }
    let renewal = task::spawn("certificate-renewal", async move {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            if let Err(error) = data.renew_certificates() {
                tracing::error!(error = format!("{error:#}"), "can't renew the workload certificates");
            }
        }
    });
    stop.requested().await;
    output::line("portal is stopping");
    // The edge first, so that calls under way still find what they need behind it.
    for (_, service) in running.into_iter().rev() {
        service.stop().await;
    }
    admin.stop().await;
    renewal.abort();
    Ok(())
}

/// Where clients come to. Links in mails lead there, and auth starts first: whoever leaves the port open gets a free one, which
/// the listener keeps until the gateway takes its place.
fn edge_address(listen: SocketAddr) -> anyhow::Result<(SocketAddr, Option<TcpListener>)> {
    if listen.port() != 0 {
        return Ok((listen, None));
    }
    let listener = TcpListener::bind(listen).with_context(|| format!("can't listen on {listen}"))?;
    Ok((listener.local_addr()?, Some(listener)))
}

fn welcome(
    data: &DataDirectory,
    gateway: SocketAddr,
    admin: SocketAddr,
    demonstration: Option<String>,
) -> anyhow::Result<()> {
    let roots = data.edge_roots();
    let url = format!("{}://{gateway}", data.scheme());
    output::line(&format!("portal ready on {url}"));
    output::line(&format!("  console   {url}/"));
    output::line(&format!("  metrics   http://{admin}/metrics"));
    output::line(&match gateway.ip().is_loopback() {
        true => format!("  mail      {url}/mailbox/{}", data.mailbox_key()?.trim()),
        false => format!("  mail      {}", data.mail_directory().display()),
    });
    output::line(&format!("  sign in   operator@portal.local, {}", data.operator_password_hint()?));
    if let Some(demonstration) = demonstration {
        output::line(&format!("  demo      {demonstration}"));
    }
    let curl = match roots {
        Some(roots) => {
            output::line(&format!("  roots     {}", roots.display()));
            format!("curl --cacert '{}'", roots.display())
        }
        None => "curl".to_owned(),
    };
    output::line("  try");
    let json = "-H 'content-type: application/json'";
    for (path, body) in [
        (
            "/v1/accounts",
            r#"{"email":"anna@example.org","password":"correct horse battery","displayName":"Anna"}"#,
        ),
        ("/v1/sessions", r#"{"email":"anna@example.org","password":"correct horse battery"}"#),
    ] {
        output::line(&format!("    {curl} {url}{path} {json} -d '{body}'"));
    }
    output::line(&format!("    {curl} {url}/v1/purposes -H \"authorization: Bearer $ACCESS_TOKEN\""));
    Ok(())
}

//! `portal keys`: the key life cycle of one service, on its key database, and on its data where rows depend on a key.
//! Safe beside the running service, which learns of each change by itself.

mod erasure;
mod shreds;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use portal_core::id::{EpochId, Id, RootId, SubjectId, TenantId};
use portal_core::{SystemClock, SystemEntropy};
use portal_crypto::envelope::Scope;
use portal_crypto::statement;
use portal_keys::{Ambient, Inventory, KeyEntry, KeyState, KeyUse, Keys, Metrics, Purpose, RewrapProgress};
use portal_upkeep::indexes::{BlindIndex, IndexKey};
use portal_upkeep::migration::Operation;

use crate::cli::{KeysCommand, Target};
use crate::config::Unusable;
use crate::migrate::data;
use crate::progress::{Bar, Step};
use crate::services::Opened;
use crate::{output, serve};

pub fn run(command: &KeysCommand) -> anyhow::Result<()> {
    let (target, action) = match command {
        KeysCommand::CreateRoot { out, passphrase_file } => {
            return create_root(out, passphrase_file.as_deref());
        }
        KeysCommand::Destroy { target, key } if is_of_index(key) => (target, Action::DestroyIndex(key)),
        KeysCommand::Destroy { target, key } => (target, Action::Destroy(key)),
        KeysCommand::Erase { target, subject, statement } => (target, Action::Erase(*subject, statement)),
        KeysCommand::ExportShreds { target, out } => (target, Action::ExportShreds(out)),
        KeysCommand::ImportShreds { target, file } => (target, Action::ImportShreds(file)),
        KeysCommand::List { target, cyclonedx } => (target, Action::List { cyclonedx: *cyclonedx }),
        KeysCommand::ReplayShreds(target) => (target, Action::ReplayShreds),
        KeysCommand::Retire { target, key: Some(key) } if is_of_index(key) => {
            (target, Action::RetireIndex(key))
        }
        KeysCommand::Retire { target, key } => (target, Action::Retire(key.as_deref())),
        KeysCommand::Rewrap(target) => (target, Action::Rewrap),
        KeysCommand::Rotate { target, index: Some(column), .. } => (target, Action::RotateIndex(column)),
        KeysCommand::Rotate { target, root: false, .. } => (target, Action::RotateEpoch),
        KeysCommand::Rotate { target, root: true, .. } => (target, Action::RotateRoot),
        KeysCommand::StatementKey(target) => (target, Action::StatementKey),
    };
    serve::runtime()?.block_on(async {
        if action.concerns_rows() {
            let Some(opened) = target.config()?.open(&serve::host()).await? else {
                return Err(no_keys().into());
            };
            let result = action.run_on_rows(&opened).await;
            opened.close().await;
            return result;
        }
        let keys = open(target).await?;
        let result = action.run(&keys).await;
        keys.close().await;
        result
    })
}

/// What is done to the keys of a service.
enum Action<'a> {
    Destroy(&'a str),
    DestroyIndex(&'a str),
    Erase(SubjectId, &'a Path),
    ExportShreds(&'a Path),
    ImportShreds(&'a Path),
    List { cyclonedx: bool },
    ReplayShreds,
    Retire(Option<&'a str>),
    RetireIndex(&'a str),
    Rewrap,
    RotateEpoch,
    RotateIndex(&'a str),
    RotateRoot,
    StatementKey,
}

impl Action<'_> {
    /// Whether it takes the service's data besides its keys.
    const fn concerns_rows(&self) -> bool {
        matches!(
            self,
            Self::DestroyIndex(_)
                | Self::Erase(..)
                | Self::ImportShreds(_)
                | Self::ReplayShreds
                | Self::RetireIndex(_)
                | Self::RotateIndex(_)
        )
    }

    async fn run_on_rows(&self, opened: &Opened) -> anyhow::Result<()> {
        match *self {
            Self::DestroyIndex(key) => destroy_index(opened, key).await,
            Self::Erase(subject, statement) => erasure::erase(opened, subject, statement).await,
            Self::ImportShreds(file) => shreds::import(opened, file).await,
            Self::ReplayShreds => erasure::replay(opened).await,
            Self::RetireIndex(key) => retire_index(opened, key).await,
            Self::RotateIndex(column) => rotate_index(opened, column).await,
            _ => self.run(&opened.keys).await,
        }
    }

    async fn run(&self, keys: &Keys) -> anyhow::Result<()> {
        match *self {
            Self::Destroy(key) => destroy(keys, key).await,
            Self::ExportShreds(out) => shreds::export(keys, out).await,
            Self::List { cyclonedx: true } => {
                output::line(&keys.inventory().await?.to_cyclonedx());
                Ok(())
            }
            Self::List { cyclonedx: false } => {
                print(&keys.inventory().await?);
                Ok(())
            }
            Self::Retire(key) => retire(keys, key).await,
            Self::Rewrap => rewrap(keys).await,
            Self::RotateEpoch => rotate_epoch(keys).await,
            Self::RotateRoot => rotate_root(keys).await,
            Self::StatementKey => {
                output::line(&statement::jwks(keys.statement_key()));
                Ok(())
            }
            Self::DestroyIndex(_)
            | Self::Erase(..)
            | Self::ImportShreds(_)
            | Self::ReplayShreds
            | Self::RetireIndex(_)
            | Self::RotateIndex(_) => bail!("it takes the service's data"),
        }
    }
}

/// Whether a key is one of a blind index, by its id.
fn is_of_index(id: &str) -> bool {
    id.strip_prefix(Purpose::BlindIndex.name()).is_some_and(|rest| rest.starts_with('/'))
}

fn no_keys() -> Unusable {
    Unusable::one("--service must be auth, consent or valuation: the gateway has no keys".to_owned())
}

/// The keys that `target` names.
pub async fn open(target: &Target) -> anyhow::Result<Keys> {
    let config = target.config()?;
    let config = config.keys().ok_or_else(no_keys)?;
    let host = serve::host();
    let store_metrics = host.metrics.shared(portal_store::Metrics::register);
    let metrics = host.metrics.shared(|registry| Metrics::register(registry, store_metrics));
    let ambient = Ambient { clock: Arc::clone(&host.clock), entropy: Arc::clone(&host.entropy), metrics };
    let scope = Scope { service: target.service, tenant: TenantId::DEFAULT };
    Keys::open(config, scope, ambient).await.with_context(|| format!("the keys of {}", target.service))
}

fn create_root(out: &Path, passphrase_file: Option<&Path>) -> anyhow::Result<()> {
    let root = portal_keys::provider::file::create(out, passphrase_file, &SystemClock, &SystemEntropy)?;
    output::line(&format!("{}: root key {root}", out.display()));
    output::line("keep a copy apart from the databases and their backups: without it nothing opens");
    Ok(())
}

async fn new_epoch(keys: &Keys) -> anyhow::Result<()> {
    let rotation = keys.rotate_epoch().await?;
    output::line(&format!("epoch {} is active, {} is retired", rotation.active, rotation.retired));
    Ok(())
}

async fn rotate_epoch(keys: &Keys) -> anyhow::Result<()> {
    new_epoch(keys).await?;
    let pending = keys.rewrap_pending().await?;
    if pending > 0 {
        let service = keys.scope().service;
        output::line(&format!(
            "{pending} subject keys are under retired epochs: portal keys rewrap --service {service}"
        ));
    }
    Ok(())
}

async fn rotate_root(keys: &Keys) -> anyhow::Result<()> {
    let change = keys.rotate_root().await?;
    output::line(&format!(
        "root key {} is active; {} epoch keys and {} keys of the service are under it now",
        change.root, change.epochs, change.service_keys
    ));
    Ok(())
}

async fn rotate_index(opened: &Opened, column: &str) -> anyhow::Result<()> {
    let index = opened.indexes.of(column).with_context(|| {
        format!("{} has no blind index of {column}: portal keys list shows them", opened.keys.scope().service)
    })?;
    new_index_key(opened, &**index).await?;
    output::line("the running service indexes its rows anew; portal keys retire waits for that");
    Ok(())
}

async fn new_index_key(opened: &Opened, index: &dyn BlindIndex) -> anyhow::Result<()> {
    let generation = opened.indexes.rotate(index, None).await?;
    let column = [index.table(), index.column()].join(".");
    output::line(&format!("key {generation} of the index of {column} is active"));
    Ok(())
}

/// A key of an index that is out of use has a successor, and finds no row any more.
async fn retire_index(opened: &Opened, id: &str) -> anyhow::Result<()> {
    let IndexKey { index, .. } = of_index(opened, id)?;
    let inventory = opened.keys.inventory().await?;
    match find(&inventory, id)?.state {
        KeyState::Active => new_index_key(opened, &*index).await?,
        KeyState::Retired => {}
        state @ (KeyState::Disabled | KeyState::Destroyed | KeyState::Pending) => bail!("{id} is {state}"),
    }
    let name = index.migration();
    let started = opened.migrations.apply(name, Operation::Start { max_rows_per_second: None }).await?;
    data::wait(opened, name, started).await?;
    output::line(&format!("rows are indexed under the active key: portal keys destroy --key {id}"));
    Ok(())
}

async fn destroy_index(opened: &Opened, id: &str) -> anyhow::Result<()> {
    let key = of_index(opened, id)?;
    opened.indexes.destroy(&key).await?;
    output::line(&format!("{id} is destroyed"));
    Ok(())
}

fn of_index(opened: &Opened, id: &str) -> anyhow::Result<IndexKey> {
    opened.indexes.key(id).with_context(|| format!("there is no key {id}: portal keys list shows them"))
}

async fn rewrap(keys: &Keys) -> anyhow::Result<()> {
    let bar = Mutex::new(Bar::new());
    let report = |progress: RewrapProgress| {
        let step =
            Step { what: "subject keys", done: progress.done, total: progress.total, ..Step::default() };
        bar.lock().unwrap_or_else(PoisonError::into_inner).show(step);
    };
    let result = keys.rewrap(&report).await;
    drop(bar);
    let done = result?;
    output::line(&format!("{} of {} subject keys are under the active epoch now", done.done, done.total));
    if done.corrupt > 0 {
        bail!("{} subject keys do not open, and stay under their epoch", done.corrupt);
    }
    Ok(())
}

/// A key that is out of use has a successor and nothing under it.
async fn retire(keys: &Keys, key: Option<&str>) -> anyhow::Result<()> {
    let inventory = keys.inventory().await?;
    let epoch = match key {
        Some(id) => find(&inventory, id)?,
        None => {
            let active =
                |entry: &&KeyEntry| entry.key_use == KeyUse::Epoch && entry.state == KeyState::Active;
            inventory.keys.iter().find(active).context("there is no active epoch")?
        }
    };
    match (epoch.key_use, epoch.state) {
        (KeyUse::Epoch, KeyState::Active) => new_epoch(keys).await?,
        (KeyUse::Epoch, KeyState::Retired) => {}
        (KeyUse::Epoch, state) => bail!("epoch {} is {state}", epoch.id),
        (KeyUse::Root, _) => bail!("{} is a root key: portal keys rotate --root replaces it", epoch.id),
        (KeyUse::Service(_) | KeyUse::Token, _) => {
            bail!("{} is a key of the service itself, which has no successor", epoch.id)
        }
    }
    rewrap(keys).await?;
    output::line(&format!("nothing is under epoch {0} any more: portal keys destroy --key {0}", epoch.id));
    Ok(())
}

async fn destroy(keys: &Keys, id: &str) -> anyhow::Result<()> {
    let inventory = keys.inventory().await?;
    match find(&inventory, id)?.key_use {
        KeyUse::Epoch => keys.destroy_epoch(EpochId::parse(id)?).await?,
        KeyUse::Root => keys.destroy_root(RootId::parse(id)?).await?,
        KeyUse::Service(_) | KeyUse::Token => {
            bail!("{id} is a key of the service itself, which is not destroyed by hand")
        }
    }
    output::line(&format!("{id} is destroyed"));
    Ok(())
}

fn find<'a>(inventory: &'a Inventory, id: &str) -> anyhow::Result<&'a KeyEntry> {
    let entry = inventory.keys.iter().find(|entry| entry.id == id);
    entry.with_context(|| format!("there is no key {id}: portal keys list shows them"))
}

fn print(inventory: &Inventory) {
    output::line(&format!("keys of {} at {}", inventory.scope.service, inventory.taken));
    let head = ["id", "use", "algorithm", "state", "wraps", "made"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(inventory.keys.iter().map(row)).collect();
    output::table(&rows);
}

fn row(key: &KeyEntry) -> [String; 6] {
    let used_for = match key.key_use {
        KeyUse::Root => "root",
        KeyUse::Epoch => "epoch",
        KeyUse::Service(purpose) => purpose.name(),
        KeyUse::Token => "token",
    };
    [
        key.id.clone(),
        used_for.to_owned(),
        key.algorithm.name().to_owned(),
        key.state.name().to_owned(),
        key.wrapped.to_string(),
        key.created.to_string(),
    ]
}

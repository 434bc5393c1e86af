//! `portal keys`: the key life cycle of one service, on its key database. Safe beside the running service, which learns
//! of each change by itself.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use portal_core::id::{EpochId, Id, RootId, SubjectId, TenantId};
use portal_core::{SystemClock, SystemEntropy};
use portal_crypto::envelope::Scope;
use portal_keys::{Ambient, Inventory, KeyEntry, KeyState, KeyUse, Keys, Metrics, RewrapProgress};

use crate::cli::{KeysCommand, Target};
use crate::config::Unusable;
use crate::progress::{Bar, Step};
use crate::{output, serve};

pub fn run(command: &KeysCommand) -> anyhow::Result<()> {
    let (target, action) = match command {
        KeysCommand::CreateRoot { out, passphrase_file } => {
            return create_root(out, passphrase_file.as_deref());
        }
        KeysCommand::Destroy { target, key } => (target, Action::Destroy(key)),
        KeysCommand::Erase { target, subject, statement } => (target, Action::Erase(*subject, statement)),
        KeysCommand::List { target, cyclonedx } => (target, Action::List { cyclonedx: *cyclonedx }),
        KeysCommand::ReplayShreds(target) => (target, Action::ReplayShreds),
        KeysCommand::Retire { target, key } => (target, Action::Retire(key.as_deref())),
        KeysCommand::Rewrap(target) => (target, Action::Rewrap),
        KeysCommand::Rotate { target, root: false } => (target, Action::RotateEpoch),
        KeysCommand::Rotate { target, root: true } => (target, Action::RotateRoot),
    };
    serve::runtime()?.block_on(async {
        let keys = open(target).await?;
        let result = action.run(&keys).await;
        keys.close().await;
        result
    })
}

/// What is done to the keys of a service.
enum Action<'a> {
    Destroy(&'a str),
    Erase(SubjectId, &'a Path),
    List { cyclonedx: bool },
    ReplayShreds,
    Retire(Option<&'a str>),
    Rewrap,
    RotateEpoch,
    RotateRoot,
}

impl Action<'_> {
    async fn run(&self, keys: &Keys) -> anyhow::Result<()> {
        match *self {
            Self::Destroy(key) => destroy(keys, key).await,
            Self::Erase(subject, statement) => erase(keys, subject, statement).await,
            Self::List { cyclonedx: true } => {
                output::line(&keys.inventory().await?.to_cyclonedx());
                Ok(())
            }
            Self::List { cyclonedx: false } => {
                print(&keys.inventory().await?);
                Ok(())
            }
            Self::ReplayShreds => replay_shreds(keys).await,
            Self::Retire(key) => retire(keys, key).await,
            Self::Rewrap => rewrap(keys).await,
            Self::RotateEpoch => rotate_epoch(keys).await,
            Self::RotateRoot => rotate_root(keys).await,
        }
    }
}

/// The keys that `target` names.
pub async fn open(target: &Target) -> anyhow::Result<Keys> {
    let config = target.config()?;
    let no_keys = "--service must be auth, consent or valuation: the gateway has no keys";
    let config = config.keys().ok_or_else(|| Unusable::one(no_keys.to_owned()))?;
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
        (KeyUse::Service(_), _) => {
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
        KeyUse::Service(_) => bail!("{id} is a key of the service itself, which is not destroyed by hand"),
    }
    output::line(&format!("{id} is destroyed"));
    Ok(())
}

fn find<'a>(inventory: &'a Inventory, id: &str) -> anyhow::Result<&'a KeyEntry> {
    let entry = inventory.keys.iter().find(|entry| entry.id == id);
    entry.with_context(|| format!("there is no key {id}: portal keys list shows them"))
}

async fn erase(keys: &Keys, subject: SubjectId, statement: &Path) -> anyhow::Result<()> {
    let describe = || format!("can't write {}", statement.display());
    // Before anything is destroyed: what can't be stated is not done.
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(statement).with_context(describe)?;
    let erasure = match keys.erase(subject).await {
        Ok(erasure) => erasure,
        Err(error) => {
            fs::remove_file(statement).with_context(describe)?;
            return Err(error.into());
        }
    };
    file.write_all(&erasure.document).and_then(|()| file.sync_all()).with_context(describe)?;
    let stated = erasure.statement;
    output::line(&format!(
        "{} keys of {subject} are destroyed since {}: entry {} of the shred ledger, stated in {}",
        stated.keys,
        stated.at,
        stated.position,
        statement.display()
    ));
    output::line(&format!(
        "the last backup of the key database that has them is gone by {}",
        stated.backups_gone
    ));
    Ok(())
}

async fn replay_shreds(keys: &Keys) -> anyhow::Result<()> {
    let replayed = keys.replay_shreds().await?;
    output::line(&format!(
        "{} entries; {} keys of {} people had come back and are destroyed again",
        replayed.entries, replayed.keys, replayed.subjects
    ));
    Ok(())
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

//! `portal import consents`: a file of decisions that were made elsewhere, streamed through the gateway.
//!
//! The service keeps how far the import is, in the transactions of the records; this only asks for it. So the command can
//! be cut anywhere and repeated, and goes on by itself when a connection breaks. The id of the import is made of the
//! content of the file: the same file is the same import, and a file that was changed is another one.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::stream;
use portal_core::id::{Id, OperationId};
use portal_crypto::hash::sha256;
use portal_mesh::status::reason_of;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::import_consents_request::Item;
use portal_proto::consent::v1::{self as pb, ConsentRecord};
use prost::Message;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::cli::{ImportCommand, ImportFormat};
use crate::config::Unusable;
use crate::progress::{Bar, Step};
use crate::serve::{self, Stop};
use crate::{files, output};

mod gateway;
mod rows;

use gateway::Gateway;
use rows::Rows;

/// How often the bar is drawn.
const LOOK: Duration = Duration::from_millis(200);
/// The pause before a broken import goes on.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it goes on without a record more being in.
const ATTEMPTS: u32 = 60;

/// Bytes that are hashed at a time.
const PIECE: u64 = 1 << 16;

/// A file of records.
struct Source<'a> {
    path: &'a Path,
    format: ImportFormat,
    /// How many records it has.
    total: u64,
    import: OperationId,
}

pub fn run(command: &ImportCommand) -> anyhow::Result<ExitCode> {
    let ImportCommand::Consents { file, format, gateway, ca_file, token_file, import_id } = command;
    let format = format_of(file, *format)?;
    let token = files::read(token_file)?;
    let token =
        token.ok_or_else(|| Unusable::one(format!("{}: there is no such file", token_file.display())))?;
    let gateway = Gateway::new(gateway, token.trim(), ca_file.as_deref())?;
    let total = count(file, format)?;
    let import = match import_id {
        Some(id) => *id,
        None => id_of(file)?,
    };
    let source = Source { path: file, format, total, import };
    serve::runtime()?.block_on(async {
        let stop = Stop::listen()?;
        output::line(&format!("import {import}: {total} records in {}", file.display()));
        tokio::select! {
            done = source.import(&gateway) => source.report(&done?),
            () = stop.requested() => bail!("stopped: the same command goes on where it was"),
        }
    })
}

fn format_of(file: &Path, format: Option<ImportFormat>) -> Result<ImportFormat, Unusable> {
    let by_name = || match file.extension()?.to_str()? {
        "csv" => Some(ImportFormat::Csv),
        "jsonl" | "ndjson" => Some(ImportFormat::Jsonl),
        _ => None,
    };
    let unknown = || Unusable::one(format!("{}: say --format csv or --format jsonl", file.display()));
    format.or_else(by_name).ok_or_else(unknown)
}

fn count(file: &Path, format: ImportFormat) -> anyhow::Result<u64> {
    let mut rows = Rows::open(file, format)?;
    let mut total = 0;
    while rows.next_row()?.is_some() {
        total += 1;
    }
    Ok(total)
}

/// The id of the import of this content: a chain of hashes over its pieces.
fn id_of(path: &Path) -> anyhow::Result<OperationId> {
    let mut file = File::open(path)?;
    let mut digest = [0; 32];
    let mut piece = Vec::new();
    loop {
        piece.clear();
        piece.extend_from_slice(&digest);
        if file.by_ref().take(PIECE).read_to_end(&mut piece)? == 0 {
            break;
        }
        digest = sha256(&piece);
    }
    let (id, _) = digest.split_first_chunk::<16>().context("a digest is longer")?;
    let mut id = *id;
    // A UUID of version 8: of our own making (RFC 9562).
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut id;
    *version = 0x80 | (*version & 0x0f);
    *variant = 0x80 | (*variant & 0x3f);
    Ok(OperationId::from_bytes(id))
}

impl Source<'_> {
    /// Sends what is not in yet, as often as it takes.
    async fn import(&self, gateway: &Gateway) -> anyhow::Result<pb::ImportConsentsResponse> {
        let (mut bar, mut attempts, mut known) = (Bar::new(), 0, None);
        loop {
            match self.attempt(gateway, &mut bar, &mut known).await {
                Ok(done) => return Ok(done),
                Err(Cut { error, before, passes }) => {
                    attempts = if known > before { 0 } else { attempts + 1 };
                    if !passes || attempts == ATTEMPTS {
                        return Err(error);
                    }
                    tracing::debug!(%error, "the import was cut");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Asks how far the import is, and sends the rest.
    async fn attempt(
        &self,
        gateway: &Gateway,
        bar: &mut Bar,
        known: &mut Option<i64>,
    ) -> Result<pb::ImportConsentsResponse, Cut> {
        let before = *known;
        let cut =
            |error: anyhow::Error| Cut { passes: error.downcast_ref::<Unusable>().is_none(), error, before };
        let refused = |status: Status| Cut { passes: may_pass(&status), error: told(&status), before };
        let mut client = ConsentServiceClient::new(gateway.connect().await.map_err(cut)?);
        let far = client.import_consents(stream::iter([self.header(0)])).await.map_err(refused)?.into_inner();
        *known = Some(far.next_record_index);
        let first = u64::try_from(far.next_record_index).unwrap_or_default();
        if first > 0 && before.is_none() && first < self.total {
            output::line(&format!("{first} records are in already"));
        }
        let sent = Arc::new(AtomicU64::new(first));
        let broken = Arc::new(AtomicBool::new(false));
        let records = self.records(first, Arc::clone(&sent), Arc::clone(&broken)).map_err(cut)?;
        let begun = Instant::now();
        let mut call = std::pin::pin!(client.import_consents(stream::iter(records)));
        let done = loop {
            tokio::select! {
                done = &mut call => break done.map_err(refused)?.into_inner(),
                () = tokio::time::sleep(LOOK) => self.show(bar, (first, sent.load(Ordering::Relaxed)), begun),
            }
        };
        if broken.load(Ordering::Relaxed) {
            let error = anyhow::anyhow!("{} can't be read to its end", self.path.display());
            return Err(Cut { error, before, passes: false });
        }
        Ok(done)
    }

    fn header(&self, first: u64) -> pb::ImportConsentsRequest {
        let first_record_index = i64::try_from(first).unwrap_or(i64::MAX);
        let header = pb::ImportHeader { import_id: self.import.to_string(), first_record_index };
        pb::ImportConsentsRequest { item: Some(Item::Header(header)) }
    }

    /// The messages from the record at `first` on. One that can't be read is sent empty, and so refused.
    fn records(
        &self,
        first: u64,
        sent: Arc<AtomicU64>,
        broken: Arc<AtomicBool>,
    ) -> anyhow::Result<impl Iterator<Item = pb::ImportConsentsRequest> + use<>> {
        let mut rows = Rows::open(self.path, self.format)?;
        for _ in 0..first {
            rows.next_row()?;
        }
        let message = |record: ConsentRecord| pb::ImportConsentsRequest { item: Some(Item::Record(record)) };
        let records = std::iter::from_fn(move || match rows.next_row() {
            Ok(row) => row.map(|row| {
                sent.fetch_add(1, Ordering::Relaxed);
                message(row.record.unwrap_or_default())
            }),
            Err(_) => {
                broken.store(true, Ordering::Relaxed);
                None
            }
        });
        Ok(std::iter::once(self.header(first)).chain(records))
    }

    fn show(&self, bar: &mut Bar, (first, sent): (u64, u64), begun: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
        let rate = (sent - first) as f64 / begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a time to look at")]
        let left = Duration::try_from_secs_f64(self.total.saturating_sub(sent) as f64 / rate).ok();
        bar.show(Step { what: "importing", done: sent, total: self.total, rate, left });
    }

    /// Prints what came of it; refusals with their lines.
    fn report(&self, done: &pb::ImportConsentsResponse) -> anyhow::Result<ExitCode> {
        let mut refusals = done.refusals.iter().peekable();
        let (mut rows, mut index) = (Rows::open(self.path, self.format)?, 0);
        while refusals.peek().is_some() {
            let Some(row) = rows.next_row()? else { break };
            if let Some(refusal) = refusals.next_if(|refusal| refusal.record_index == index) {
                output::line(&format!("line {}: {}", row.line, why(refusal, row.record.err())));
            }
            index += 1;
        }
        let told = done.refusals.len() as u64;
        let refused = u64::try_from(done.refused_count).unwrap_or_default();
        if refused > told {
            output::line(&format!("and {} more", refused - told));
        }
        output::line(&format!("{} recorded, {refused} refused", done.recorded_count));
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// An import that was cut.
struct Cut {
    error: anyhow::Error,
    /// How far it was known to be when the attempt began.
    before: Option<i64>,
    /// Whether it may go on.
    passes: bool,
}

fn may_pass(status: &Status) -> bool {
    use Code::{Aborted, Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable, Unknown};
    matches!(
        status.code(),
        Aborted | Cancelled | DeadlineExceeded | ResourceExhausted | Unavailable | Unknown
    )
}

fn told(status: &Status) -> anyhow::Error {
    match reason_of(status) {
        Some(reason) => anyhow::anyhow!("{reason}: {}", status.message()),
        None => anyhow::anyhow!("the import was cut: {}", status.message()),
    }
}

/// Why a record was refused: what is wrong with its line comes first, since that is what the service did not see.
fn why(refusal: &pb::ImportRefusal, problem: Option<String>) -> String {
    if let Some(problem) = problem {
        return format!("UNREADABLE: {problem}");
    }
    let error = refusal.error.clone().unwrap_or_default();
    let status =
        Status::with_details(Code::from(error.code), error.message.clone(), error.encode_to_vec().into());
    format!("{}: {}", reason_of(&status).unwrap_or_default(), error.message)
}

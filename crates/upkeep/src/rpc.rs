//! What operators ask of a service by calls: its keys, its integrity scans, its migrations. The same in every service.
//!
//! A service has one [`Operators`], and [`serve_operators!`](crate::serve_operators) puts its `KeyService`,
//! `IntegrityService` and `MigrationService` before it: each method takes the permit of its own action, so that the
//! service's policy decides who is an operator.
//!
//! What it promises:
//! - A request with a `request_id` takes effect once in 24 hours, whichever replica it reaches: the reply is kept in the
//!   transaction that changes the record. A rotation changes another database: there what it is to replace is kept first,
//!   and a repetition ends what the first request began.
//! - Nothing here waits for work that takes long: a scan, a migration and a rewrap are begun, and go on by themselves.
//!
//! | module | holds |
//! |---|---|
//! | `failure` | what went wrong, as a status |
//! | `keys` | `KeyService` |
//! | `integrity` | `IntegrityService` |
//! | `ledger` | `LedgerService`, which is anybody's |
//! | `migrations` | `MigrationService` |
//! | `once` | replies that are kept |
//! | `pages` | page tokens |
//! | `schema` | the schema migrations |
//! | `serve` | [`serve_operators!`](crate::serve_operators) |

use std::sync::Arc;

use portal_core::{Invalid, Timestamp};
use portal_crypto::page_token::PageTokenKey;
use portal_keys::{Keys, Replies};
use portal_ledger::Log;
use portal_mesh::Caller;
use portal_mesh::policy::Action;
use sea_orm_migration::MigratorTrait;
use tonic::{Request, Response, Status};

use crate::Host;
use crate::indexes::Indexes;
use crate::migration::Migrations;
use crate::own_keys::OwnKeys;
use crate::scan::Scans;

mod failure;
mod integrity;
mod keys;
mod ledger;
mod migrations;
mod once;
mod pages;
mod schema;
mod serve;

use schema::Schema;

/// What [`serve_operators!`](crate::serve_operators) names.
#[doc(hidden)]
pub mod wire {
    pub use async_trait::async_trait;
    pub use portal_proto::common::v1 as common;
    pub use portal_proto::ledger::v1 as ledger;
    pub use tonic::Request;
}

/// An answer to an operator.
pub type Answer<T> = Result<Response<T>, Status>;

/// Answers operators. Clones share everything.
#[derive(Clone)]
pub struct Operators(Arc<Inner>);

struct Inner {
    host: Host,
    keys: Keys,
    indexes: Indexes,
    own_keys: Option<Arc<dyn OwnKeys>>,
    migrations: Migrations,
    scans: Scans,
    log: Log,
    ledger_key_since: Option<Timestamp>,
    replies: Replies,
    page_tokens: PageTokenKey,
    schema: Schema,
}

impl Operators {
    /// With the schema migrations `M`, in the database of `host`, which has no blind indexes.
    #[must_use]
    pub fn new<M: MigratorTrait>(
        host: Host,
        (keys, replies): (Keys, Replies),
        migrations: Migrations,
        (scans, log): (Scans, Log),
    ) -> Self {
        let indexes = Indexes::new(&keys, &host.database, Vec::new());
        Self::with_indexes::<M>(host, (keys, replies, indexes, None), migrations, (scans, log))
    }

    /// The same for a database with blind indexes, and perhaps keys.
    #[must_use]
    pub fn with_indexes<M: MigratorTrait>(
        host: Host,
        (keys, replies, indexes, own_keys): (Keys, Replies, Indexes, Option<Arc<dyn OwnKeys>>),
        migrations: Migrations,
        (scans, log): (Scans, Log),
    ) -> Self {
        let page_tokens = PageTokenKey::new(keys.service_secret());
        let schema = Schema::of::<M>();
        let ledger_key_since = keys.ledger_key_since();
        let inner = Inner {
            host,
            keys,
            indexes,
            own_keys,
            migrations,
            scans,
            log,
            ledger_key_since,
            replies,
            page_tokens,
            schema,
        };
        Self(Arc::new(inner))
    }
}

/// The caller of `request`, who may do `A`, and what is asked for.
fn asked<A: Action, T>(request: Request<T>) -> Result<(Caller, T), Status> {
    let caller = Caller::of(&request)?;
    caller.permit::<A>()?;
    Ok((caller, request.into_inner()))
}

/// Most rows per second, as a request says it: 0 takes the configured rate.
fn rate(invalid: &mut Invalid, max_rows_per_second: i32) -> Option<u32> {
    let rate = u32::try_from(max_rows_per_second).map_err(|_| "must not be negative");
    invalid.check("max_rows_per_second", rate).filter(|rate| *rate > 0)
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn refused(invalid: Invalid) -> Status {
    portal_mesh::status::invalid(&invalid)
}

/// A count as messages hold it.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

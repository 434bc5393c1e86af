#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use portal_core::id::{Id, TenantId};
use portal_core::{ManualClock, SystemEntropy, Timestamp, Workload};
use portal_crypto::envelope::Scope;
use portal_store::Corruption;
use tempfile::TempDir;

use super::*;
use crate::{Ambient, Metrics};

const START: Timestamp = Timestamp::from_seconds(1_795_305_600);
const HASH: &[u8; 32] = &[9; 32];
fn person() -> SubjectId {
    SubjectId::from_bytes([1; 16])
}

/// Real keys on a file and SQLite.
async fn keys(directory: &TempDir, more: &str) -> Keys {
    let root = directory.path().join("root.json");
    crate::provider::file::create(&root, None, &ManualClock::new(START), &SystemEntropy).unwrap();
    let url = format!("sqlite:{}", directory.path().join("keys.db").display());
    let section = format!("provider = 'file'\nroot_key_file = {root:?}\ndatabase_url = {url:?}\n{more}");
    let scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };
    let ambient = Ambient {
        clock: Arc::new(ManualClock::new(START)),
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::default(),
    };
    Keys::open(&toml::from_str(&section).unwrap(), scope, ambient).await.unwrap()
}

fn replies(keys: &Keys) -> Replies {
    let sealing = Sealing::new(Arc::new(SystemEntropy), &portal_store::Metrics::default());
    Replies::new(keys, sealing, Arc::new(SystemEntropy))
}

fn key(caller: &str, method: &'static str, request_id: &str) -> Key {
    Key { caller: caller.to_owned(), method, request_id: request_id.to_owned() }
}

fn first() -> Key {
    key("anna", "/a/B", "1")
}

fn cause(result: Result<Vec<u8>, ReplyError>) -> Corruption {
    match result {
        Err(ReplyError::Store(StoreError::Corrupt { table: TABLE, column: COLUMN, cause, .. })) => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reply_opens_for_its_own_request_after_a_restart_and_for_no_other() {
    let directory = TempDir::new().unwrap();
    let kept = {
        let keys = keys(&directory, "").await;
        let anna = keys.subject_or_new(person()).await.unwrap();
        let kept = [Some(&*anna), None]
            .map(|about| replies(&keys).seal((&first(), HASH), about, b"reply", Forms::Sealed).unwrap());
        keys.close().await;
        kept
    };
    let keys = keys(&directory, "").await;
    let replies = replies(&keys);
    for (kept, subject) in kept.into_iter().zip([Some(person()), None]) {
        assert_eq!((kept.plain.len(), kept.sealed.as_ref().unwrap().subject), (0, subject));
        assert_eq!(replies.open((&first(), HASH), kept.clone()).await.unwrap(), b"reply");
        for other in [key("bert", "/a/B", "1"), key("anna", "/a/C", "1"), key("anna", "/a/B", "2")] {
            let opened = replies.open((&other, HASH), kept.clone()).await;
            assert_eq!(cause(opened), Corruption::EnvelopeRefused, "{other:?}");
        }
        let other = replies.open((&first(), &[8; 32]), kept.clone()).await;
        assert_eq!(cause(other), Corruption::EnvelopeRefused);
    }
}

#[tokio::test]
async fn every_changed_byte_and_every_cut_is_refused() {
    let directory = TempDir::new().unwrap();
    let keys = keys(&directory, "").await;
    let replies = replies(&keys);
    let anna = keys.subject_or_new(person()).await.unwrap();
    for about in [Some(&*anna), None] {
        let kept = replies.seal((&first(), HASH), about, b"reply", Forms::Sealed).unwrap();
        let SealedReply { subject, envelope } = kept.sealed.unwrap();
        let open = |envelope: Vec<u8>| {
            let sealed = Some(SealedReply { subject, envelope });
            let replies = &replies;
            async move { replies.open((&first(), HASH), KeptReply { plain: Vec::new(), sealed }).await }
        };
        for at in 0..envelope.len() {
            let mut changed = envelope.clone();
            changed[at] ^= 1;
            cause(open(changed).await);
            cause(open(envelope[..at].to_vec()).await);
        }
        cause(open([envelope.as_slice(), &[0]].concat()).await);
        // Said to be somebody else's, or nobody's.
        let other = if subject.is_some() { None } else { Some(person()) };
        let sealed = Some(SealedReply { subject: other, envelope });
        cause(replies.open((&first(), HASH), KeptReply { plain: Vec::new(), sealed }).await);
    }
}

#[tokio::test]
async fn a_reply_is_kept_in_the_forms_that_were_asked_for() {
    let directory = TempDir::new().unwrap();
    let keys = keys(&directory, "").await;
    let replies = replies(&keys);
    for (forms, plain, sealed) in
        [(Forms::Plain, true, false), (Forms::Both, true, true), (Forms::Sealed, false, true)]
    {
        let kept = replies.seal((&first(), HASH), None, b"reply", forms).unwrap();
        assert_eq!((kept.plain == b"reply", kept.sealed.is_some()), (plain, sealed), "{forms:?}");
        assert_eq!(replies.open((&first(), HASH), kept).await.unwrap(), b"reply");
    }
    let mut changed = replies.seal((&first(), HASH), None, b"reply", Forms::Both).unwrap();
    changed.plain = b"other".to_vec();
    assert_eq!(replies.open((&first(), HASH), changed).await.unwrap(), b"reply", "the sealed one counts");
}

#[tokio::test]
async fn with_the_person_the_replies_about_them_are_gone() {
    let directory = TempDir::new().unwrap();
    let keys = keys(&directory, "").await;
    let replies = replies(&keys);
    let anna = keys.subject_or_new(person()).await.unwrap();
    let about_anna = replies.seal((&first(), HASH), Some(&anna), b"reply", Forms::Sealed).unwrap();
    let about_nobody = replies.seal((&first(), HASH), None, b"reply", Forms::Sealed).unwrap();
    drop(anna);
    keys.erase(person()).await.unwrap();
    let gone = replies.open((&first(), HASH), about_anna).await;
    assert!(matches!(gone, Err(ReplyError::Keys(KeysError::Erased(id))) if id == person()), "{gone:?}");
    assert_eq!(replies.open((&first(), HASH), about_nobody).await.unwrap(), b"reply");
}

#[tokio::test]
async fn an_algorithm_that_is_switched_off_neither_seals_nor_opens() {
    let directory = TempDir::new().unwrap();
    let kept = {
        let keys = keys(&directory, "").await;
        replies(&keys).seal((&first(), HASH), None, b"reply", Forms::Sealed).unwrap()
    };
    let keys = keys(&directory, "disabled_algorithms = ['XAES-256-GCM']").await;
    let opened = replies(&keys).open((&first(), HASH), kept).await;
    assert!(matches!(opened, Err(ReplyError::Store(StoreError::Disabled(_)))), "{opened:?}");
    let sealed = replies(&keys).seal((&first(), HASH), None, b"reply", Forms::Sealed);
    assert!(matches!(sealed, Err(StoreError::Disabled(_))), "{sealed:?}");
}

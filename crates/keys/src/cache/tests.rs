#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use portal_core::id::{EpochId, TenantId};
use portal_core::{SeededEntropy, Workload};
use portal_crypto::envelope::{Padding, Place, Scope};
use portal_crypto::epoch::EpochKey;
use portal_crypto::key::KeyBytes;
use portal_crypto::suite::Suites;

use super::*;

const TTL: Duration = Duration::from_secs(60);
const SCOPE: Scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_000 + seconds)
}

fn subject(number: u8) -> SubjectId {
    SubjectId::from_bytes([number; 16])
}

fn tag_of(subject: SubjectId) -> SubjectTag {
    let mut tag = [0xee; 32];
    tag[..16].copy_from_slice(&subject.bytes());
    tag
}

/// An epoch whose key holds for a hundred seconds from 0, and keys under it.
struct Keys {
    epoch: EpochKey,
    window: Arc<Window>,
}

impl Keys {
    fn new() -> Self {
        let key = KeyBytes::generate(&SeededEntropy::new(1));
        let epoch = EpochKey::new(&key, EpochId::from_bytes([1; 16]), SCOPE, Suites::ALL);
        Self { epoch, window: Arc::new(Window::new(at(0), Duration::from_secs(100))) }
    }

    fn fresh(&self, number: u8, loaded: i64) -> Fresh {
        let made = self.epoch.new_subject_key(subject(number), 1, at(0), &SeededEntropy::new(2));
        Fresh { key: Arc::new(made.unwrap().0), loaded: at(loaded), epoch: Arc::clone(&self.window) }
    }

    fn put(&self, cache: &Cache, number: u8, loaded: i64) -> Vec<Unwritten> {
        let mut evicted = Vec::new();
        assert!(cache.insert(self.fresh(number, loaded), cache.purges(), &mut evicted));
        evicted
    }
}

fn seal(key: &SubjectKey) {
    let place = Place { owner: *key.owner(), table: "t", column: "c", row: [0; 16], row_version: 0 };
    key.seal(&place, Padding::None, b"", &SeededEntropy::new(3)).unwrap();
}

fn holds(cache: &Cache, now: i64) -> Vec<u8> {
    (0..=255).filter(|number| cache.get(subject(*number), at(now)).is_some()).collect()
}

#[test]
fn a_key_has_its_time() {
    let (cache, keys) = (Cache::new(1_000, TTL), Keys::new());
    keys.put(&cache, 1, 10);
    for (now, there) in [(9, false), (10, true), (69, true), (70, false)] {
        assert_eq!(cache.get(subject(1), at(now)).is_some(), there, "{now}");
    }
    // Loaded late under an epoch key whose own time is nearly over: that ends first, unless it is prolonged.
    keys.put(&cache, 2, 90);
    assert!(cache.get(subject(2), at(99)).is_some());
    assert!(cache.get(subject(2), at(100)).is_none());
    keys.window.extend(at(95), Duration::from_secs(100));
    assert!(cache.get(subject(2), at(149)).is_some());
    assert!(cache.get(subject(2), at(150)).is_none());
    keys.window.close();
    assert!(cache.get(subject(2), at(100)).is_none());
}

#[test]
fn what_is_over_is_wiped() {
    let (cache, keys) = (Cache::new(1_000, TTL), Keys::new());
    keys.put(&cache, 1, 0);
    keys.put(&cache, 2, 30);
    let key = cache.get(subject(1), at(1)).unwrap();
    assert_eq!(Arc::strong_count(&key), 2);
    assert!(cache.sweep(at(59)).is_empty());
    assert_eq!(cache.len(), 2);
    cache.sweep(at(60));
    assert_eq!((cache.len(), Arc::strong_count(&key)), (1, 1));
    keys.window.close();
    cache.sweep(at(60));
    assert_eq!(cache.len(), 0);
}

#[test]
fn the_oldest_go_and_those_in_use_are_spared_once() {
    let (cache, keys) = (Cache::new(4, TTL), Keys::new());
    for number in 1..=4 {
        keys.put(&cache, number, 0);
    }
    cache.get(subject(1), at(1)).unwrap();
    keys.put(&cache, 5, 0);
    assert_eq!(cache.len(), 4);
    // 2 went, since 1 had been asked for. To look marks all as used: all are spared once, and the first goes then.
    assert_eq!(holds(&cache, 1), [1, 3, 4, 5]);
    for number in 6..=9 {
        keys.put(&cache, number, 0);
    }
    assert_eq!(cache.len(), 4);
    assert!(cache.get(subject(9), at(1)).is_some());
    for number in 10..=200 {
        keys.put(&cache, number, 0);
        assert!(cache.len() <= 4);
    }
    // Put in again and again, one takes one place.
    for _ in 0..100 {
        keys.put(&cache, 200, 0);
    }
    assert_eq!(cache.len(), 4);
}

#[test]
fn the_bound_holds_over_all_shards() {
    let (cache, keys) = (Cache::new(10_000, TTL), Keys::new());
    assert_eq!((cache.shards.len(), cache.capacity), (64, 156));
    for number in 0..=255 {
        keys.put(&cache, number, 0);
    }
    assert_eq!(cache.len(), 256);
    let none = Cache::new(0, TTL);
    keys.put(&none, 1, 0);
    assert_eq!(none.len(), 0);
    assert!(none.get(subject(1), at(0)).is_none());
}

/// Names of those that are gone do not pile up.
#[test]
fn the_queue_stays_short() {
    let (cache, keys) = (Cache::new(1_000, TTL), Keys::new());
    for _ in 0..50 {
        keys.put(&cache, 1, 0);
        cache.purge_one(subject(1));
    }
    keys.put(&cache, 1, 0);
    cache.sweep(at(1));
    assert_eq!(
        lock(&cache.shards[0]).queue.len()
            + cache.shards[1..].iter().map(|s| lock(s).queue.len()).sum::<usize>(),
        1
    );
    assert_eq!(cache.len(), 1);
}

#[tokio::test]
async fn a_purge_removes_whom_it_names_and_stops_who_read_before() {
    let (cache, keys) = (Cache::new(1_000, TTL), Keys::new());
    for number in 1..=3 {
        keys.put(&cache, number, 0);
    }
    let before = cache.purges();
    cache.purge(&HashSet::from([tag_of(subject(2)), tag_of(subject(9))]), tag_of).await;
    assert_eq!(holds(&cache, 1), [1, 3]);
    // Whoever has read the rows of 2 before they were deleted is refused, and reads again.
    assert!(!cache.insert(keys.fresh(2, 0), before, &mut Vec::new()));
    assert_eq!(holds(&cache, 1), [1, 3]);
    let before = cache.purges();
    cache.purge_one(subject(3));
    assert!(!cache.insert(keys.fresh(3, 0), before, &mut Vec::new()));
    assert_eq!(holds(&cache, 1), [1]);
    let before = cache.purges();
    cache.clear();
    assert!(!cache.insert(keys.fresh(1, 0), before, &mut Vec::new()));
    assert_eq!(cache.len(), 0);
}

#[test]
fn seals_are_told_once() {
    let (cache, keys) = (Cache::new(2, TTL), Keys::new());
    let told = |number, seals| Unwritten { subject: subject(number), generation: 1, seals };
    keys.put(&cache, 1, 0);
    let key = cache.get(subject(1), at(0)).unwrap();
    (0..3).for_each(|_| seal(&key));
    assert!(cache.take_unwritten(4).is_empty());
    assert_eq!(cache.take_unwritten(3), [told(1, 3)]);
    assert!(cache.take_unwritten(1).is_empty());
    seal(&key);
    // Replaced by a key object that starts anew.
    assert_eq!(keys.put(&cache, 1, 0), [told(1, 1)]);
    let key = cache.get(subject(1), at(0)).unwrap();
    seal(&key);
    keys.put(&cache, 2, 0);
    keys.put(&cache, 3, 0);
    seal(&cache.get(subject(3), at(0)).unwrap());
    let evicted = keys.put(&cache, 4, 0);
    let swept = cache.sweep(at(100));
    let mut all = [evicted, swept].concat();
    all.sort_by_key(|told| told.subject);
    assert_eq!(all, [told(1, 1), told(3, 1)]);
    assert_eq!(cache.len(), 0);

    // A key that had sealed before it was loaded is told for what it has sealed since.
    let mut fresh = keys.fresh(5, 0);
    let old = Arc::into_inner(fresh.key).unwrap().counting_from(500);
    fresh.key = Arc::new(old);
    assert!(cache.insert(fresh, cache.purges(), &mut Vec::new()));
    seal(&cache.get(subject(5), at(0)).unwrap());
    assert_eq!(cache.clear(), [told(5, 1)]);
}

//! What was erased or closed is in no page of the process that can be read: neither in the heap nor in what is left of
//! earlier calls on the stacks of the threads that worked with it. Nothing here wipes anything: that is what is tested.

use std::sync::Arc;
use std::thread;

use portal_keys::{Ambient, Keys};
use portal_testkit::TestDatabase;

use crate::fixture::{Fixture, SCOPE, opens, seal, subject};
use crate::search::{Masked, Recorded, found};

/// How often the secrets are in memory, looked for by a thread of its own: it writes over no other's stack.
fn left(secrets: Vec<Masked>) -> usize {
    thread::spawn(move || found(&secrets)).join().unwrap()
}

#[test]
fn erased_and_closed_keys_leave_the_memory() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let entropy = Arc::new(Recorded::default());
    let database = TestDatabase::sqlite();
    let fixture = runtime.block_on(Fixture::new(&database));
    let ambient = || Ambient { entropy: Arc::clone(&entropy) as _, ..fixture.ambient() };
    let before = entropy.keys().len();
    let keys = runtime.block_on(async {
        let keys = Keys::open(&fixture.config, SCOPE, ambient()).await.unwrap();
        let anna = keys.subject_or_new(subject(1)).await.unwrap();
        let envelope = seal(&anna);
        assert!(opens(&anna, &envelope));
        drop(anna);
        // As after a restart: what was made above is opened by the provider and under its epoch.
        keys.close().await;
        drop(keys);
        let keys = Keys::open(&fixture.config, SCOPE, ambient()).await.unwrap();
        assert!(opens(&keys.subject(subject(1)).await.unwrap(), &envelope));
        keys
    });
    let made = entropy.keys().split_off(before);
    assert_eq!(made.len(), 9, "the epoch's, seven of the service, and hers");
    let (of_service, hers) = made.split_at(8);
    assert!(left(hers.to_vec()) >= 1, "it is cached");

    runtime.block_on(keys.erase(subject(1))).unwrap();
    assert_eq!(left(hers.to_vec()), 0, "she was erased");

    runtime.block_on(keys.close());
    drop(keys);
    assert_eq!(left(of_service.to_vec()), 0, "they were closed");
}

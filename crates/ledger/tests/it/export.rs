//! A log as a file: whatever is changed in it is found.

use portal_ledger::export::{ExportFault, ExportVerified, Unusable, Verifier, line};
use portal_testkit::TestDatabase;

use crate::world::World;

fn verify(lines: &[String], keys: &[String]) -> ExportVerified {
    let mut verifier = Verifier::new(&lines[0], keys).unwrap();
    lines[1..].iter().for_each(|line| verifier.line(line));
    verifier.finish()
}

fn faults(lines: &[String]) -> Vec<ExportFault> {
    verify(lines, &[]).faults
}

async fn exported() -> (Vec<String>, Vec<String>) {
    let database = TestDatabase::sqlite();
    let world = World::new(&database).await;
    world.fill(40).await;
    let signed = world.log.checkpoint().await.unwrap();
    let mut lines = vec![world.log.header(&signed)];
    lines.extend(world.log.entries(0, 100).await.unwrap().iter().map(line));
    (lines, world.log.note_keys().map(|key| key.verifier_key()).into())
}

#[tokio::test]
async fn what_was_exported_verifies() {
    let (lines, keys) = exported().await;
    let verified = verify(&lines, &keys);
    assert_eq!((verified.leaves, verified.count), (40, 0));
    assert_eq!(verified.checkpoint.unwrap().head.size, 40);
}

#[tokio::test]
async fn every_line_changed_dropped_doubled_and_swapped() {
    let (lines, _) = exported().await;
    for at in 1..lines.len() {
        let (index, line) = (at as u64 - 1, at as u64 + 1);
        let mut dropped = lines.clone();
        dropped.remove(at);
        let found = faults(&dropped);
        assert_eq!(found.last(), Some(&ExportFault::Size { leaves: 39, signed: 40 }));
        if at < lines.len() - 1 {
            assert_eq!(found[0], ExportFault::OutOfOrder { line, expected: index });
        }
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        assert_eq!(faults(&doubled)[0], ExportFault::OutOfOrder { line: line + 1, expected: index + 1 });
        let mut broken = lines.clone();
        broken[at].truncate(20);
        assert_eq!(faults(&broken)[0], ExportFault::Malformed { line });
        let other = if at == 1 { 2 } else { 1 };
        let mut swapped = lines.clone();
        swapped.swap(at, other);
        assert!(faults(&swapped).contains(&ExportFault::OutOfOrder { line, expected: index }));
        // Numbered anew, so that only the root tells.
        let number = |line: &str, index: usize| {
            let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["index"] = index.to_string().into();
            value.to_string()
        };
        swapped[at] = number(&swapped[at], at - 1);
        swapped[other] = number(&swapped[other], other - 1);
        assert_eq!(faults(&swapped), [ExportFault::WrongRoot]);
    }
}

#[tokio::test]
async fn every_byte_of_a_leaf_and_of_the_checkpoint() {
    let (lines, keys) = exported().await;
    for byte in 0..lines[7].len() {
        let mut changed = lines.clone();
        let mut bytes = changed[7].clone().into_bytes();
        bytes[byte] ^= 1;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        changed[7] = text;
        assert_ne!(faults(&changed), [], "byte {byte}: {}", changed[7]);
    }
    for byte in (0..lines[0].len()).step_by(7) {
        let mut bytes = lines[0].clone().into_bytes();
        bytes[byte] ^= 1;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let mut changed = lines.clone();
        changed[0] = text;
        match Verifier::new(&changed[0], &keys) {
            Err(Unusable::Header | Unusable::Keys) => {}
            // The keys in the file are not asked when others are given.
            Ok(_) if changed[0].find("\"keys\"").is_none_or(|keys| byte > keys) => {}
            Ok(_) => assert_ne!(verify(&changed, &keys).faults, [], "byte {byte}"),
        }
    }
    let other = [keys[0].replace("test.local", "else.local"), keys[1].clone()];
    assert_eq!(Verifier::new(&lines[0], &other).err(), Some(Unusable::Keys));
    assert_eq!(Verifier::new("{}", &keys).err(), Some(Unusable::Header));
}

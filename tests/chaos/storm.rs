//! A storm of changes of consents, with `kill -9` of the service and of who follows the stream: what was acknowledged is
//! in the table, among the events, in the ledger and in the stream, and the ledger continues every checkpoint that was ever
//! handed out.

mod consumer;
mod journal;
mod proofs;
mod stream;

use std::time::{Duration, Instant};

use portal_core::SeededEntropy;
use portal_mesh::status::reason_of;
use portal_tests::{Channel, Portal, published_notice, published_purpose};
use tokio::task::JoinSet;

use crate::kill9::writers::{Kind, Places, Writer};
use crate::kill9::{World, between, verify};
use consumer::Consumer;
use proofs::Ledger;
use stream::Seen;

const ROUNDS: u32 = 5;
const SEED: u64 = 20_261_123;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_storm_everywhere() {
    let started = Instant::now();
    let random = SeededEntropy::new(SEED);
    let mut portal = Portal::start().await;
    let mut world = world(&portal).await;
    let mut ledger = Ledger::of(&portal).await;
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("changes");
    std::fs::File::create(&file).unwrap();
    for round in 1..=ROUNDS {
        let mut tasks = JoinSet::new();
        for writer in world.writers.drain(..) {
            let (channel, places) = (portal.channel().await, world.places.clone());
            tasks.spawn(async move { writer.run(&channel, &places).await });
        }
        let mut heads = JoinSet::new();
        heads.spawn(proofs::watch(portal.channel().await));
        let token = world.controller.token.clone();
        // Whoever follows dies twice: in the middle, and again before or after the service.
        let follower = Consumer::start(portal.address(), &token, &file);
        tokio::time::sleep(Duration::from_millis(between(&random, 100, 500))).await;
        follower.kill9();
        let follower = Consumer::start(portal.address(), &token, &file);
        tokio::time::sleep(Duration::from_millis(between(&random, 100, 900))).await;
        let last = if round % 2 == 0 {
            follower.kill9();
            None
        } else {
            Some(follower)
        };
        let directory = portal.kill9();
        if let Some(follower) = last {
            follower.ended();
        }
        while let Some(ended) = tasks.join_next().await {
            let (writer, status) = ended.unwrap();
            assert_eq!(reason_of(&status), None, "refused before the kill: {status:?}");
            world.writers.push(writer);
        }
        ledger.heads.extend(heads.join_next().await.unwrap().unwrap());
        portal = Portal::restart(directory).await;
        let lost = verify::retry(&portal, &mut world).await;
        let proven = everything(&portal, &world, &mut ledger).await;
        println!("round {round}: {proven} changes proven, {lost} answers had been lost");
    }
    let (changes, seen) = followed(&portal, &world, &ledger, &file).await;
    seen.check(&ledger.events);
    let (code, said) = portal.beside(&["verify", "ledger", "--service", "consent"]);
    assert_eq!(code, Some(0), "{said}");
    println!("{changes} changes, {} checkpoints, in {:?}", ledger.heads.len(), started.elapsed());
    portal.terminate().await;
}

async fn world(portal: &Portal) -> World {
    let channel = portal.channel().await;
    let operator = portal.operator().await;
    let controller = portal.staff(&operator, &["controller"]).await;
    let as_controller = controller.on(&channel);
    let purpose_id = published_purpose(&as_controller, "Research").await.purpose_id;
    let notice_id = published_notice(&as_controller, "Notice", &[&purpose_id]).await.notice_id;
    let mut writers = Vec::new();
    for name in ["anna", "ben", "carla", "dora"] {
        writers.push(Writer::new(Kind::Consents, Some(portal.person(name).await)));
    }
    let places = Places { purpose_id, notice_id, dataset_id: String::new() };
    World { operator, controller, places, writers, other_accounts: 0 }
}

/// Compares what every writer was told with what there is, and returns how many changes have been proven by now.
async fn everything(portal: &Portal, world: &World, ledger: &mut Ledger) -> usize {
    let channel = portal.channel().await;
    for writer in &world.writers {
        let subject: Channel = writer.on(&channel);
        ledger.events_of(&subject, writer).await;
    }
    ledger.prove(&channel, &world.writers).await;
    ledger.events.len()
}

/// Lets somebody follow the stream from where the last one died to its end, and reads what all of them have seen.
async fn followed(portal: &Portal, world: &World, ledger: &Ledger, file: &std::path::Path) -> (usize, Seen) {
    let follower = Consumer::start(portal.address(), &world.controller.token, file);
    let all = async {
        loop {
            let seen = Seen::read(file);
            if ledger.events.keys().all(|event| seen.has(event)) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(60), all).await;
    follower.kill9();
    let seen =
        seen.unwrap_or_else(|_| panic!("changes are missing in the stream: {}", Seen::read(file).len()));
    (ledger.events.len(), seen)
}

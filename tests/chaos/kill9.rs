//! `kill -9` under load, again and again: every acknowledged write is there afterwards, exactly once, and a write whose
//! answer was lost can be sent again under its request id and then is there exactly once too.

pub mod verify;
pub mod writers;

use std::time::{Duration, Instant};

use portal_core::entropy::random_bytes;
use portal_core::{Entropy, SeededEntropy};
use portal_mesh::status::reason_of;
use portal_tests::{Person, Portal, dataset, published_notice, published_purpose};
use tokio::task::JoinSet;

use writers::{Kind, Places, Writer};

const ROUNDS: u32 = 20;
const SEED: u64 = 20_261_122;

/// Everything that outlives the process.
pub struct World {
    pub operator: Person,
    pub controller: Person,
    pub places: Places,
    pub writers: Vec<Writer>,
    /// Accounts that are there besides those of the writers' journals.
    pub other_accounts: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_kill_9() {
    let started = Instant::now();
    let random = SeededEntropy::new(SEED);
    let mut portal = Portal::start().await;
    let mut world = world(&portal).await;
    for round in 1..=ROUNDS {
        let time = Duration::from_millis(between(&random, 50, 900));
        let mut tasks = load(&portal, &mut world).await;
        tokio::time::sleep(time).await;
        let directory = portal.kill9();
        while let Some(ended) = tasks.join_next().await {
            let (writer, status) = ended.unwrap();
            assert_eq!(reason_of(&status), None, "refused before the kill: {status:?}");
            world.writers.push(writer);
        }
        if round % 4 == 0 {
            // Once more while it recovers.
            Portal::kill_during_start(&directory, Duration::from_millis(between(&random, 0, 400))).await;
        }
        portal = Portal::restart(directory).await;
        let restarted = portal.ready_after;
        let retried = verify::retry(&portal, &mut world).await;
        verify::everything(&portal, &world).await;
        let writes: usize = world.writers.iter().map(Writer::len).sum();
        println!(
            "round {round:2}: killed after {time:?}, ready again after {restarted:?}, \
             {writes} writes so far, {retried} sent again"
        );
    }
    assert!(
        world.writers.iter().all(|writer| writer.len() >= 2 * ROUNDS as usize / 3),
        "a writer hardly wrote"
    );
    portal.terminate().await;
    println!("{ROUNDS} rounds in {:?}", started.elapsed());
}

pub fn between(random: &dyn Entropy, from: u64, to: u64) -> u64 {
    from + u64::from_le_bytes(random_bytes(random)) % (to - from)
}

async fn world(portal: &Portal) -> World {
    let channel = portal.channel().await;
    let operator = portal.operator().await;
    let controller = portal.staff(&operator, &["controller"]).await;
    let as_controller = controller.on(&channel);
    let purpose_id = published_purpose(&as_controller, "Research").await.purpose_id;
    let notice_id = published_notice(&as_controller, "Notice", &[&purpose_id]).await.notice_id;
    let dataset_id = dataset(&as_controller, &purpose_id).await.dataset_id;
    let mut writers = vec![
        Writer::new(Kind::Accounts, None),
        Writer::new(Kind::Purposes, Some(controller.clone())),
        Writer::new(Kind::Purposes, Some(controller.clone())),
        Writer::new(Kind::Records, Some(controller.clone())),
        Writer::new(Kind::Records, Some(controller.clone())),
    ];
    for name in ["anna", "ben", "carla"] {
        writers.push(Writer::new(Kind::Consents, Some(portal.person(name).await)));
    }
    let places = Places { purpose_id, notice_id, dataset_id };
    World { operator, controller, places, writers, other_accounts: 5 }
}

/// Sets every writer to work; each comes back when a call of its fails.
async fn load(portal: &Portal, world: &mut World) -> JoinSet<(Writer, tonic::Status)> {
    let mut tasks = JoinSet::new();
    for writer in world.writers.drain(..) {
        let (channel, places) = (portal.channel().await, world.places.clone());
        tasks.spawn(async move { writer.run(&channel, &places).await });
    }
    tasks
}

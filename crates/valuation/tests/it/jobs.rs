//! Jobs: progress, cancel, crash, restart, consent that is not there or changes meanwhile.

use std::time::Duration;

use portal_proto::google::longrunning::{GetOperationRequest, operation};
use portal_proto::valuation::v1 as pb;
use portal_testkit::each_database;
use portal_valuation::Service;
use prost::Message;
use tonic::Code;

use crate::world::{World, assert_refused, new_id, person, start_request, synthetic};

/// A dataset that takes the engine seconds.
async fn large(world: &World) -> pb::Dataset {
    world.filled(2, &synthetic(3_000, 900, 300)).await
}

async fn valuation(world: &World, id: &str) -> pb::Valuation {
    let request = pb::GetValuationRequest { valuation_id: id.to_owned() };
    world.valuations().get_valuation(request).await.unwrap().into_inner()
}

/// Waits until the engine is at work.
async fn under_way(world: &World, name: &str) -> String {
    let id = name.strip_prefix("operations/").unwrap().to_owned();
    for _ in 0..400 {
        let valuation = valuation(world, &id).await;
        assert!(valuation.end_time.is_none(), "it ended before it could be looked at: {valuation:?}");
        if valuation.progress.unwrap().done_units > 0 {
            return id;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("no progress");
}

each_database! {
    async fn progress_is_watched_to_the_end(database) {
        let world = World::start(database).await;
        let dataset = large(&world).await;
        let operation = world.start_valuation(&dataset).await;
        let id = operation.name.strip_prefix("operations/").unwrap().to_owned();
        let request = pb::WatchValuationRequest { valuation_id: id };
        let mut stream = world.valuations().watch_valuation(request).await.unwrap().into_inner();
        let mut seen = Vec::new();
        while let Some(progress) = stream.message().await.unwrap() {
            seen.push(progress);
        }
        let done: Vec<_> = seen.iter().map(|progress| progress.done_units).collect();
        assert!(done.is_sorted(), "{done:?}");
        assert!(done.iter().filter(|done| (1..900).contains(*done)).count() > 1, "{done:?}");
        let last = seen.last().unwrap();
        assert_eq!(last.state(), pb::ValuationState::Succeeded);
        assert_eq!((last.done_units, last.total_units), (900, 900));
        let request = GetOperationRequest { name: operation.name };
        let operation = world.operations().get_operation(request).await.unwrap().into_inner();
        let metadata = operation.metadata.unwrap();
        assert_eq!(metadata.type_url, "type.googleapis.com/portal.valuation.v1.ValuationProgress");
        assert_eq!(&pb::ValuationProgress::decode(metadata.value.as_slice()).unwrap(), last);
    }

    async fn a_cancelled_job_ends_and_makes_room(database) {
        let world = World::start(database).await;
        let dataset = large(&world).await;
        let small = world.filled(2, &synthetic(10, 5, 3)).await;
        let operation = world.start_valuation(&dataset).await.name;
        let id = under_way(&world, &operation).await;
        let request = pb::WatchValuationRequest { valuation_id: id.clone() };
        let mut watch = world.valuations().watch_valuation(request).await.unwrap().into_inner();
        let next = world.start_valuation(&small).await.name;

        let request = pb::CancelValuationRequest { valuation_id: id.clone(), request_id: new_id() };
        let reply = world.valuations().cancel_valuation(request.clone()).await.unwrap().into_inner();
        assert_eq!(reply.state(), pb::ValuationState::Cancelled);
        assert_eq!(world.valuations().cancel_valuation(request).await.unwrap().into_inner(), reply);
        let mut last = None;
        while let Some(progress) = watch.message().await.unwrap() {
            last = Some(progress.state());
        }
        assert_eq!(last, Some(pb::ValuationState::Cancelled));
        // The worker is free for the next job.
        world.valued(&next).await;
        let operation = world.wait(&operation).await;
        let Some(operation::Result::Error(error)) = operation.result else { panic!("{operation:?}") };
        assert_eq!(error.code, Code::Cancelled as i32);
        assert_eq!(valuation(&world, &id).await, reply);
    }

    async fn a_job_that_waits_is_cancelled_too(database) {
        let world = World::start(database).await;
        let dataset = large(&world).await;
        let first = world.start_valuation(&dataset).await.name;
        let waiting = world.start_valuation(&dataset).await.name;
        for name in [&waiting, &first] {
            let valuation_id = name.strip_prefix("operations/").unwrap().to_owned();
            let request = pb::CancelValuationRequest { valuation_id, request_id: String::new() };
            let reply = world.valuations().cancel_valuation(request).await.unwrap().into_inner();
            assert_eq!(reply.state(), pb::ValuationState::Cancelled);
        }
    }

    /// The process dies at work: the job is taken up again when its lease has lapsed, and not before.
    async fn a_crash_delays_a_job_and_changes_nothing(database) {
        let mut world = World::start(database).await;
        let dataset = large(&world).await;
        let expected = world.valued(&world.start_valuation(&dataset).await.name).await;
        let expected = world.record_values(&expected.valuation_id).await;
        world.service.take().unwrap().stop().await;

        let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (config, host) = (world.config(), world.mesh.host());
        let service = doomed.spawn(async move { Service::start(config, host).await.unwrap() }).await.unwrap();
        world.reach(service);
        let operation = world.start_valuation(&dataset).await.name;
        let id = under_way(&world, &operation).await;
        // Nothing of it gets to say good-bye: to drop its handle would start a drain.
        std::mem::forget(world.service.take());
        doomed.shutdown_background();

        let service = Service::start(world.config(), world.mesh.host()).await.unwrap();
        world.reach(service);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let before = valuation(&world, &id).await;
        assert_eq!(before.state(), pb::ValuationState::Running);
        world.mesh.clock.advance(Duration::from_secs(10));
        let after = world.valued(&operation).await;
        assert_eq!(after.start_time, before.start_time);
        let values = world.record_values(&id).await;
        assert_eq!(values, expected);
    }

    /// A process that stops in order gives its job back: the next one goes on at once.
    async fn a_restart_gives_the_job_back(database) {
        let mut world = World::start(database).await;
        let dataset = large(&world).await;
        let operation = world.start_valuation(&dataset).await.name;
        under_way(&world, &operation).await;
        world.service.take().unwrap().stop().await;
        let service = Service::start(world.config(), world.mesh.host()).await.unwrap();
        world.reach(service);
        world.valued(&operation).await;
    }

    /// Whoever withdraws while the job runs is not in the result.
    async fn a_withdrawal_meanwhile_counts(database) {
        let world = World::start(database).await;
        let dataset = large(&world).await;
        let operation = world.start_valuation(&dataset).await.name;
        let id = under_way(&world, &operation).await;
        for number in 0..100 {
            world.decisions.withdraw(&person(number));
        }
        let valuation = world.valued(&operation).await;
        let expected = pb::Exclusion {
            cause: pb::exclusion::Cause::Withdrawn.into(),
            training_record_count: 1_000,
            validation_record_count: 300,
            subject_count: 100,
        };
        assert_eq!(valuation.exclusions, [expected]);
        let values = world.record_values(&id).await;
        assert_eq!(values.len(), 2_000);
        let out: Vec<_> = (0..100).map(person).collect();
        assert!(values.iter().all(|value| !out.contains(&value.subject_id)));
    }

    /// Consent does not answer: nothing is valued, and the job says so. It comes back in time: the job is done.
    async fn without_consent_service_nothing_is_valued(database) {
        let mut world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(10, 5, 3)).await;
        world.consent.take().unwrap().stop().await;
        let operation = world.wait(&world.start_valuation(&dataset).await.name).await;
        let Some(operation::Result::Error(error)) = operation.result else { panic!("{operation:?}") };
        assert_eq!(error.code, Code::Unavailable as i32);
        assert!(error.message.contains("consent"));

        let waiting = world.start_valuation(&dataset).await.name;
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.consent = Some(world.decisions.serve(&world.mesh, Some(world.consent_address)).await);
        world.valued(&waiting).await;

        world.decisions.answer_short();
        let operation = world.wait(&world.start_valuation(&dataset).await.name).await;
        assert!(matches!(operation.result, Some(operation::Result::Error(error)) if error.code == 14));
    }

    async fn a_valuation_is_started_once_per_request_id(database) {
        let world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(10, 5, 3)).await;
        let request = pb::StartValuationRequest { request_id: new_id(), ..start_request(&dataset) };
        let first = world.valuations().start_valuation(request.clone()).await.unwrap().into_inner();
        world.valued(&first.name).await;
        assert_eq!(world.valuations().start_valuation(request.clone()).await.unwrap().into_inner(), first);
        let list = pb::ListValuationsRequest { dataset_id: dataset.dataset_id, ..Default::default() };
        assert_eq!(world.valuations().list_valuations(list).await.unwrap().into_inner().valuations.len(), 1);
        let mut other = request;
        other.parameters = Some(pb::MethodParameters { k: 3, ..Default::default() });
        let reused = world.valuations().start_valuation(other).await;
        assert_refused(reused, Code::InvalidArgument, "REQUEST_ID_REUSED");
        // 2 calls of consent for it: before and after.
        assert_eq!(world.decisions.calls(), 2);
    }
}

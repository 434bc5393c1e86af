//! Keys that can't be had, algorithms that are switched off, and replicas that share everything.

use std::path::PathBuf;
use std::time::Duration;

use portal_core::id::{Id, SubjectId};
use portal_keys::config::ProviderConfig;
use portal_proto::google::longrunning::operation;
use portal_proto::google::rpc;
use portal_proto::valuation::v1 as pb;
use portal_testkit::each_database;
use portal_valuation::Service;
use tonic::Code;

use crate::sealed::{list, withheld};
use crate::world::{World, assert_refused, batch, new_id, person, synthetic};

fn root_keys(world: &World) -> PathBuf {
    let ProviderConfig::File { root_key_file, .. } = world.config().keys.provider else { panic!() };
    root_key_file
}

fn batch_request(dataset: &pb::Dataset, records: std::ops::Range<usize>) -> pb::AppendRecordBatchRequest {
    let records = synthetic(records.end, 0, 4).split_off(records.start);
    pb::AppendRecordBatchRequest {
        dataset_id: dataset.dataset_id.clone(),
        batch: Some(batch(&records)),
        request_id: new_id(),
    }
}

async fn failure(world: &World, dataset: &pb::Dataset) -> rpc::Status {
    let operation = world.wait(&world.start_valuation(dataset).await.name).await;
    let Some(operation::Result::Error(error)) = operation.result else { panic!("{operation:?}") };
    error
}

/// The reason of an error in an operation.
pub fn reason(error: &rpc::Status) -> String {
    let info = error.details.iter().find(|any| any.type_url.ends_with("ErrorInfo")).unwrap();
    <rpc::ErrorInfo as prost::Message>::decode(info.value.as_slice()).unwrap().reason
}

each_database! {
    /// Keys at hand serve for their time; then nothing is read or taken until the provider is back, and nothing is lost.
    async fn without_the_provider(database) {
        let world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&valuation.valuation_id).await;
        let file = root_keys(&world);
        std::fs::rename(&file, file.with_extension("away")).unwrap();
        world.mesh.clock.advance(Duration::from_secs(20));
        assert_eq!(world.record_values(&valuation.valuation_id).await, values);
        world.mesh.clock.advance(Duration::from_secs(100));

        let unavailable = |result: Result<(), tonic::Status>| {
            assert_refused(result, Code::Unavailable, "KEYS_UNAVAILABLE");
        };
        unavailable(world.valuations().list_record_values(list(&valuation)).await.map(drop));
        let get = pb::GetSubjectValueRequest {
            valuation_id: valuation.valuation_id.clone(),
            subject_id: person(1),
        };
        unavailable(world.valuations().get_subject_value(get).await.map(drop));
        let request = batch_request(&dataset, 100..104);
        unavailable(world.datasets().append_record_batch(request.clone()).await.map(drop));
        unavailable(world.append(&dataset.dataset_id, &synthetic(4, 0, 4), 2).await.map(drop));
        // What is not about a person is answered.
        assert_eq!(world.dataset(&dataset.dataset_id).await, dataset);
        let error = failure(&world, &dataset).await;
        assert_eq!((error.code, reason(&error).as_str()), (Code::Unavailable as i32, "KEYS_UNAVAILABLE"));

        std::fs::rename(file.with_extension("away"), &file).unwrap();
        world.mesh.clock.advance(Duration::from_secs(1));
        assert_eq!(world.record_values(&valuation.valuation_id).await, values);
        let appended = world.datasets().append_record_batch(request).await.unwrap().into_inner();
        assert_eq!((appended.appended_count, appended.dataset_revision), (4, 2));
        world.valued(&world.start_valuation(&dataset).await.name).await;
    }

    /// An algorithm that is switched off neither opens nor seals, from the next start on, and says so.
    async fn with_an_algorithm_switched_off(database) {
        let mut world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&valuation.valuation_id).await;

        world.restart_with(|config| config.keys.disabled_algorithms = vec!["AES-256-GCM".to_owned()]).await;
        let disabled = |result: Result<(), tonic::Status>| {
            assert_refused(result, Code::FailedPrecondition, "ALGORITHM_DISABLED");
        };
        disabled(world.valuations().list_record_values(list(&valuation)).await.map(drop));
        let request = batch_request(&dataset, 100..104);
        disabled(world.datasets().append_record_batch(request).await.map(drop));
        let error = failure(&world, &dataset).await;
        assert_eq!((error.code, reason(&error).as_str()), (Code::FailedPrecondition as i32, "ALGORITHM_DISABLED"));
        assert_eq!(world.dataset(&dataset.dataset_id).await, dataset);

        world.restart().await;
        assert_eq!(world.record_values(&valuation.valuation_id).await, values);
    }

    /// Another process opens what the first one sealed and values it, and both forget who was erased.
    async fn another_replica(database) {
        let mut world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&valuation.valuation_id).await;
        let first = world.service.take().unwrap();
        let first_channel = world.channel.clone();
        let second = Service::start(world.config(), world.mesh.host()).await.unwrap();
        world.reach(second);
        assert_eq!(world.record_values(&valuation.valuation_id).await, values);
        let more = world.datasets().append_record_batch(batch_request(&dataset, 100..104)).await.unwrap();
        assert_eq!(more.into_inner().dataset_revision, 2);

        // Erased by a process that is neither.
        let keys = world.keys().await;
        keys.erase(SubjectId::parse(&person(1)).unwrap()).await.unwrap();
        let second_channel = world.channel.clone();
        for channel in [first_channel, second_channel.clone()] {
            world.channel = channel;
            let forgotten = async {
                while world.record_values(&valuation.valuation_id).await.len() == 20 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), forgotten).await.unwrap();
            let page = world.valuations().list_record_values(list(&valuation)).await.unwrap();
            assert_eq!(withheld(&page).as_deref(), Some("5"));
        }

        // The job of a process that ends is done by the other one.
        world.channel = second_channel;
        first.stop().await;
        let dataset = world.dataset(&dataset.dataset_id).await;
        let after = world.valued(&world.start_valuation(&dataset).await.name).await;
        assert_eq!(after.exclusions[0].cause(), pb::exclusion::Cause::Unreadable);
        assert_eq!(world.record_values(&after.valuation_id).await.len(), 15 + 3);
        keys.close().await;
    }
}

//! Who sees what: the owner all, a subject its own value, everybody else nothing.

use portal_core::{Role, Workload};
use portal_proto::google::longrunning::operations_client::OperationsClient;
use portal_proto::google::longrunning::{CancelOperationRequest, GetOperationRequest, ListOperationsRequest};
use portal_proto::valuation::v1 as pb;
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_proto::valuation::v1::payout_service_client::PayoutServiceClient;
use portal_proto::valuation::v1::valuation_service_client::ValuationServiceClient;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use tonic::Code;

use crate::world::{World, assert_field, assert_refused, batch, start_request, synthetic};

each_database! {
    async fn the_owner_and_nobody_else(database) {
        let world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let operation = world.start_valuation(&dataset).await.name;
        let valuation = world.valued(&operation).await;
        let (dataset_id, valuation_id) = (dataset.dataset_id.clone(), valuation.valuation_id.clone());

        let other = TestUser::with_roles(&[Role::Controller]);
        let mut datasets = DatasetServiceClient::new(world.call_as(&other));
        let get = pb::GetDatasetRequest { dataset_id: dataset_id.clone() };
        assert_refused(datasets.get_dataset(get).await, Code::NotFound, "DATASET_NOT_FOUND");
        let list = datasets.list_datasets(pb::ListDatasetsRequest::default()).await.unwrap().into_inner();
        assert_eq!(list.datasets, []);
        let append = pb::AppendRecordBatchRequest {
            dataset_id: dataset_id.clone(),
            batch: Some(batch(&synthetic(1, 0, 1))),
            request_id: String::new(),
        };
        assert_refused(datasets.append_record_batch(append).await, Code::NotFound, "DATASET_NOT_FOUND");
        let mut valuations = ValuationServiceClient::new(world.call_as(&other));
        let start = valuations.start_valuation(start_request(&dataset)).await;
        assert_refused(start, Code::NotFound, "DATASET_NOT_FOUND");
        let not_found = |result: Result<(), tonic::Status>| {
            assert_refused(result, Code::NotFound, "VALUATION_NOT_FOUND");
        };
        let id = valuation_id.clone();
        not_found(valuations.get_valuation(pb::GetValuationRequest { valuation_id: id.clone() }).await.map(drop));
        not_found(valuations.watch_valuation(pb::WatchValuationRequest { valuation_id: id.clone() }).await.map(drop));
        let cancel = pb::CancelValuationRequest { valuation_id: id.clone(), request_id: String::new() };
        not_found(valuations.cancel_valuation(cancel).await.map(drop));
        let list = pb::ListRecordValuesRequest { valuation_id: id.clone(), ..Default::default() };
        not_found(valuations.list_record_values(list).await.map(drop));
        let list = pb::ListSubjectValuesRequest { valuation_id: id.clone(), ..Default::default() };
        not_found(valuations.list_subject_values(list).await.map(drop));
        let list = valuations.list_valuations(pb::ListValuationsRequest::default()).await.unwrap().into_inner();
        assert_eq!(list.valuations, []);
        let mut operations = OperationsClient::new(world.call_as(&other));
        not_found(operations.get_operation(GetOperationRequest { name: operation.clone() }).await.map(drop));
        not_found(operations.cancel_operation(CancelOperationRequest { name: operation.clone() }).await.map(drop));
        let list = operations.list_operations(ListOperationsRequest::default()).await.unwrap().into_inner();
        assert_eq!(list.operations, []);

        let mut own = world.operations();
        let list = own.list_operations(ListOperationsRequest::default()).await.unwrap().into_inner();
        assert_eq!(list.operations.len(), 1);
        let found = own.get_operation(GetOperationRequest { name: operation.clone() }).await.unwrap().into_inner();
        assert_eq!(list.operations[0], found);
        // What has ended stays as it is.
        own.cancel_operation(CancelOperationRequest { name: operation.clone() }).await.unwrap();
        assert_eq!(own.get_operation(GetOperationRequest { name: operation }).await.unwrap().into_inner(), found);
        let wrong = own.get_operation(GetOperationRequest { name: "operations/x".to_owned() }).await;
        assert_field(wrong, "name");
    }

    async fn a_subject_sees_its_own_value(database) {
        let world = World::start(database).await;
        let (anna, bert) = (TestUser::subject(), TestUser::subject());
        let mut records = synthetic(20, 10, 4);
        for record in records.iter_mut().step_by(4) {
            record.subject = anna.subject.to_string();
        }
        let dataset = world.filled(2, &records).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let id = valuation.valuation_id.as_str();
        let get = |subject: &TestUser| pb::GetSubjectValueRequest {
            valuation_id: id.to_owned(),
            subject_id: subject.subject.to_string(),
        };
        let list = pb::ListSubjectValuesRequest { valuation_id: id.to_owned(), ..Default::default() };
        let mut as_anna = ValuationServiceClient::new(world.call_as(&anna));
        let own = as_anna.get_subject_value(get(&anna)).await.unwrap().into_inner();
        assert_eq!(own.record_count, 5);
        let listed = as_anna.list_subject_values(list.clone()).await.unwrap().into_inner().subject_values;
        assert_eq!(listed, std::slice::from_ref(&own));
        let by_owner = world.valuations().get_subject_value(get(&anna)).await.unwrap().into_inner();
        assert_eq!(by_owner, own);
        assert_refused(as_anna.get_subject_value(get(&bert)).await, Code::PermissionDenied, "NOT_YOUR_DATA");

        let mut as_bert = ValuationServiceClient::new(world.call_as(&bert));
        assert_refused(as_bert.get_subject_value(get(&anna)).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        assert_refused(as_bert.get_subject_value(get(&bert)).await, Code::NotFound, "VALUATION_NOT_FOUND");
        assert_eq!(as_bert.list_subject_values(list).await.unwrap().into_inner().subject_values, []);

        // A controller that is a data subject too sees its own value, and no other.
        let carla = TestUser { roles: [Role::Controller, Role::Subject].into(), ..anna.clone() };
        let mut as_carla = ValuationServiceClient::new(world.call_as(&carla));
        assert_eq!(as_carla.get_subject_value(get(&carla)).await.unwrap().into_inner(), own);
        assert_refused(as_carla.get_subject_value(get(&bert)).await, Code::NotFound, "VALUATION_NOT_FOUND");

        let denied = |result: Result<(), tonic::Status>| {
            assert_refused(result, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        };
        let get = pb::GetValuationRequest { valuation_id: id.to_owned() };
        denied(as_anna.get_valuation(get).await.map(drop));
        denied(as_anna.list_valuations(pb::ListValuationsRequest::default()).await.map(drop));
        denied(as_anna.start_valuation(start_request(&dataset)).await.map(drop));
        let records = pb::ListRecordValuesRequest { valuation_id: id.to_owned(), ..Default::default() };
        denied(as_anna.list_record_values(records).await.map(drop));
        let mut datasets = DatasetServiceClient::new(world.call_as(&anna));
        denied(datasets.create_dataset(pb::CreateDatasetRequest::default()).await.map(drop));
    }

    async fn without_a_token_nothing_and_later_methods_say_so(database) {
        let world = World::start(database).await;
        let mut anonymous = DatasetServiceClient::new(world.channel.clone());
        let list = anonymous.list_datasets(pb::ListDatasetsRequest::default()).await;
        assert_refused(list, Code::Unauthenticated, "TOKEN_MISSING");
        let consent = world.mesh.channel(
            Workload::Consent,
            Workload::Valuation,
            world.service.as_ref().unwrap().local_addr(),
        );
        let mut workload = DatasetServiceClient::new(consent.as_workload());
        let list = workload.list_datasets(pb::ListDatasetsRequest::default()).await;
        assert_refused(list, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");

        let deleted = world.datasets().delete_dataset(pb::DeleteDatasetRequest::default()).await;
        assert_eq!(deleted.unwrap_err().code(), Code::Unimplemented);
        let curve = world.valuations().get_removal_curve(pb::GetRemovalCurveRequest::default()).await;
        assert_eq!(curve.unwrap_err().code(), Code::Unimplemented);
        let mut payouts = PayoutServiceClient::new(world.call_as(&world.controller));
        let payout = payouts.get_payout(pb::GetPayoutRequest::default()).await;
        assert_eq!(payout.unwrap_err().code(), Code::Unimplemented);
    }
}

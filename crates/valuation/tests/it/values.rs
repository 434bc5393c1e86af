//! Values: equal to the golden ones, only of those who consent, in order, page by page.

use std::collections::{BTreeMap, HashSet};

use portal_proto::google::longrunning::operation;
use portal_proto::valuation::v1 as pb;
use portal_testkit::each_database;
use tonic::Code;

use crate::world::{
    Change, Record, World, assert_field, assert_refused, digits, new_id, person, start_request, synthetic,
};

fn golden() -> BTreeMap<String, f64> {
    let lines = include_str!("../data/digits.knn_shapley.k5.csv").lines().skip(1);
    lines
        .map(|line| {
            let (id, value) = line.split_once(',').unwrap();
            (id.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn all_finite_and_ordered(values: &[pb::RecordValue]) {
    for (position, pair) in values.windows(2).enumerate() {
        assert!(pair[0].value >= pair[1].value, "position {position}");
        assert!(pair[0].rank <= pair[1].rank);
        assert_eq!(pair[0].rank == pair[1].rank, pair[0].value == pair[1].value);
    }
    assert!(values.iter().all(|value| value.value.is_finite() && value.standard_error >= 0.0));
}

each_database! {
    /// The whole path, and what a withdrawal changes.
    async fn digits_equal_the_golden_values_until_somebody_withdraws(database) {
        let world = World::start(database).await;
        let records = digits();
        let dataset = world.filled(64, &records).await;
        let operation = world.start_valuation(&dataset).await;
        assert!(!operation.done);
        let valuation = world.valued(&operation.name).await;
        assert_eq!(operation.name, format!("operations/{}", valuation.valuation_id));
        assert_eq!(valuation.state(), pb::ValuationState::Succeeded);
        assert_eq!((valuation.record_count, valuation.subject_count), (1_297, 1_297));
        assert_eq!(valuation.exclusions, []);
        assert_eq!(valuation.parameters.unwrap().k, 5);
        let progress = valuation.progress.clone().unwrap();
        assert_eq!((progress.done_units, progress.total_units), (500, 500));
        let summary = valuation.summary.clone().unwrap();
        assert!(summary.efficiency_gap < 1e-9);

        let golden = golden();
        let values = world.record_values(&valuation.valuation_id).await;
        assert_eq!(values.len(), golden.len());
        for value in &values {
            assert!((value.value - golden[&value.record_id]).abs() < 1e-9, "{}", value.record_id);
        }
        all_finite_and_ordered(&values);
        assert_eq!(values[0].rank, 1);

        let out: HashSet<String> = records.iter().step_by(17).map(|record| record.subject.clone()).collect();
        out.iter().for_each(|subject| world.decisions.withdraw(subject));
        let left_out = |split| {
            let counted = |record: &&Record| record.split == split && out.contains(&record.subject);
            i64::try_from(records.iter().filter(counted).count()).unwrap()
        };
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let expected = pb::Exclusion {
            cause: pb::exclusion::Cause::NotPermitted.into(),
            training_record_count: left_out(pb::Split::Train),
            validation_record_count: left_out(pb::Split::Validation),
            subject_count: i64::try_from(out.len()).unwrap(),
        };
        assert!(expected.training_record_count > 50 && expected.validation_record_count > 20);
        assert_eq!(valuation.exclusions, [expected]);
        let without = world.record_values(&valuation.valuation_id).await;
        assert_eq!(without.len(), values.len() - usize::try_from(left_out(pb::Split::Train)).unwrap());
        assert!(without.iter().all(|value| !out.contains(&value.subject_id)));
        assert_ne!(without[0].value.to_bits(), values[0].value.to_bits());
        let gone = records.iter().find(|r| r.split == pb::Split::Train && out.contains(&r.subject)).unwrap();
        let request = pb::GetSubjectValueRequest {
            valuation_id: valuation.valuation_id,
            subject_id: gone.subject.clone(),
        };
        let refused = world.valuations().get_subject_value(request).await;
        assert_refused(refused, Code::NotFound, "VALUATION_NOT_FOUND");
    }

    async fn a_subject_has_the_sum_of_its_records(database) {
        let world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(60, 40, 7)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let id = valuation.valuation_id.as_str();
        let mut sums: BTreeMap<String, (f64, i64)> = BTreeMap::new();
        for value in world.record_values(id).await {
            let sum = sums.entry(value.subject_id).or_default();
            *sum = (sum.0 + value.value, sum.1 + 1);
        }
        let request = pb::ListSubjectValuesRequest { valuation_id: id.to_owned(), ..Default::default() };
        let listed = world.valuations().list_subject_values(request).await.unwrap().into_inner().subject_values;
        assert_eq!((listed.len(), sums.len()), (7, 7));
        assert!(listed.windows(2).all(|pair| pair[0].value >= pair[1].value));
        for value in listed {
            let (sum, records) = sums[&value.subject_id];
            assert!((value.value - sum).abs() < 1e-12);
            assert_eq!(value.record_count, records);
            let request = pb::GetSubjectValueRequest {
                valuation_id: id.to_owned(),
                subject_id: value.subject_id.clone(),
            };
            assert_eq!(world.valuations().get_subject_value(request).await.unwrap().into_inner(), value);
        }
    }

    async fn values_are_listed_from_either_end(database) {
        let world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(25, 10, 5)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let all = world.record_values(&valuation.valuation_id).await;
        assert_eq!(all.len(), 25);
        let mut request = pb::ListRecordValuesRequest {
            valuation_id: valuation.valuation_id.clone(),
            page_size: 10,
            order: pb::ValueOrder::LowestFirst.into(),
            ..Default::default()
        };
        let mut from_below = Vec::new();
        loop {
            let page = world.valuations().list_record_values(request.clone()).await.unwrap().into_inner();
            from_below.extend(page.record_values);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        from_below.reverse();
        assert_eq!(from_below, all);
        // A token is good for its own list only.
        assert!(!request.page_token.is_empty());
        request.order = pb::ValueOrder::HighestFirst.into();
        assert_field(world.valuations().list_record_values(request.clone()).await, "page_token");
        request.page_token.clear();
        request.subject_id = person(3);
        let of_one = world.valuations().list_record_values(request).await.unwrap().into_inner().record_values;
        assert_eq!(of_one.len(), 5);
        assert!(of_one.iter().all(|value| value.subject_id == person(3)));
    }

    async fn what_can_not_be_valued_is_refused(database) {
        let world = World::start(database).await;
        let empty = world.create(2).await;
        let start = |request: pb::StartValuationRequest| {
            let mut client = world.valuations();
            async move { client.start_valuation(request).await }
        };
        let nothing = start(start_request(&empty)).await;
        assert_refused(nothing, Code::FailedPrecondition, "NOTHING_TO_VALUE");
        let one_sided = world.filled(2, &synthetic(10, 0, 2)).await;
        assert_refused(start(start_request(&one_sided)).await, Code::FailedPrecondition, "NOTHING_TO_VALUE");

        let dataset = world.filled(2, &synthetic(10, 5, 2)).await;
        let table: [(Change<pb::StartValuationRequest>, &str); 9] = [
            (|r| r.dataset_id = "x".to_owned(), "dataset_id"),
            (|r| r.method = 0, "method"),
            (|r| r.method = pb::Method::DataOob.into(), "method"),
            (|r| r.method = 99, "method"),
            (|r| r.parameters.as_mut().unwrap().k = -1, "parameters.k"),
            (|r| r.parameters.as_mut().unwrap().k = 11, "parameters.k"),
            (|r| r.parameters.as_mut().unwrap().weighting = 2, "parameters.weighting"),
            (|r| r.parameters.as_mut().unwrap().radius = 1.0, "parameters.radius"),
            (|r| r.parameters.as_mut().unwrap().privacy = Some(Default::default()), "parameters.privacy"),
        ];
        for (change, field) in table {
            let mut request = start_request(&dataset);
            request.parameters = Some(pb::MethodParameters::default());
            change(&mut request);
            assert_field(start(request).await, field);
        }
        let unknown = pb::Dataset { dataset_id: new_id(), ..pb::Dataset::default() };
        assert_refused(start(start_request(&unknown)).await, Code::NotFound, "DATASET_NOT_FOUND");
        let unknown = pb::GetValuationRequest { valuation_id: new_id() };
        assert_refused(world.valuations().get_valuation(unknown).await, Code::NotFound, "VALUATION_NOT_FOUND");
        let list = pb::ListValuationsRequest::default();
        assert_eq!(world.valuations().list_valuations(list).await.unwrap().into_inner().valuations, []);
    }

    /// Nobody permits: the job fails, and says why.
    async fn without_consent_there_is_nothing_to_value(database) {
        let world = World::start(database).await;
        world.decisions.set_purpose("another purpose");
        let dataset = world.filled(2, &synthetic(10, 5, 3)).await;
        let operation = world.wait(&world.start_valuation(&dataset).await.name).await;
        let Some(operation::Result::Error(error)) = operation.result else { panic!("{operation:?}") };
        assert_eq!(error.code, Code::FailedPrecondition as i32);
        let list = pb::ListValuationsRequest { state: pb::ValuationState::Failed.into(), ..Default::default() };
        let failed = world.valuations().list_valuations(list).await.unwrap().into_inner().valuations;
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].error, Some(error));
        let request =
            pb::ListRecordValuesRequest { valuation_id: failed[0].valuation_id.clone(), ..Default::default() };
        let refused = world.valuations().list_record_values(request).await;
        assert_refused(refused, Code::FailedPrecondition, "VALUATION_NOT_SUCCEEDED");
    }
}

//! Messages to domain and back. Every violation of a request is told at once, by the field's path in it.

use std::num::NonZeroU32;

use portal_core::id::{DatasetId, Id, ValuationId};
use portal_core::{Invalid, Timestamp};
use portal_mesh::convert::{duration, timestamp};
use portal_proto::google::longrunning::{Operation, operation};
use portal_proto::valuation::v1 as pb;
use prost::Message;

use crate::app::append::Appended;
use crate::domain::batch::Parts;
use crate::domain::dataset::{Dataset, Description, MAX_CLASSES, MAX_FEATURES, Shape, Split, Task};
use crate::domain::outcome::{RecordValue, SubjectValue};
use crate::domain::valuation::{Cause, Exclusion, State, Summary, Valuation};
use crate::service::status;

/// What every report says a value is not.
const CAVEAT: &str = "A value says what a record contributed to predicting this validation set, with these features \
     and this method. It is not a market price and does not carry over to other data or models.";

/// Reads the id in `field`.
pub fn id<T: Id>(field: &str, text: &str) -> Result<T, Invalid> {
    T::parse(text).map_err(|error| Invalid::field(field, error))
}

/// Reads the id in `field`; empty is none.
pub fn optional_id<T: Id>(field: &str, text: &str) -> Result<Option<T>, Invalid> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// The valuation that an operation is about.
pub fn operation_id(name: &str) -> Result<ValuationId, Invalid> {
    let id = name.strip_prefix("operations/").and_then(|id| ValuationId::parse(id).ok());
    id.ok_or_else(|| Invalid::field("name", "must be operations/ and the id of a valuation"))
}

/// Reads the dataset of a CreateDatasetRequest.
pub fn description(dataset: Option<pb::Dataset>) -> Result<Description, Invalid> {
    let Some(dataset) = dataset else { return Err(Invalid::field("dataset", "must be set")) };
    let mut invalid = Invalid::new();
    let task = task(dataset.task());
    let purpose = invalid.check("dataset.purpose_id", Id::parse(&dataset.purpose_id));
    let display_name = invalid.text("dataset.display_name", dataset.display_name, 1, 200);
    let text = invalid.text("dataset.description", dataset.description, 0, 10_000);
    let task = invalid.check("dataset.task", task.ok_or("must be CLASSIFICATION or REGRESSION"));
    let features = in_range(dataset.feature_count, 1, MAX_FEATURES).map(NonZeroU32::new);
    let features = invalid.check("dataset.feature_count", features).flatten();
    let most_classes = if task == Some(Task::Regression) { 0 } else { MAX_CLASSES };
    let classes = in_range(dataset.class_count, 0, most_classes).map(NonZeroU32::new);
    let class_count = invalid.check("dataset.class_count", classes).flatten();
    let names = feature_names(dataset.feature_names, dataset.feature_count, &mut invalid);
    if dataset.privacy_budget.is_some() {
        invalid
            .add("dataset.privacy_budget", "must not be set: there are no differentially private values yet");
    }
    let shape = task.zip(features).map(|(task, feature_count)| Shape { task, feature_count, class_count });
    let described = display_name.zip(text).zip(shape.zip(purpose)).zip(names);
    invalid.finish(described.map(|(((display_name, text), (shape, purpose)), feature_names)| Description {
        display_name,
        text,
        shape,
        feature_names,
        purpose,
    }))
}

fn feature_names(names: Vec<String>, count: i32, invalid: &mut Invalid) -> Option<Vec<String>> {
    const FIELD: &str = "dataset.feature_names";
    if !names.is_empty() && i32::try_from(names.len()) != Ok(count) {
        invalid.add(FIELD, "must have one name per feature, or none at all");
        return None;
    }
    let bad =
        |name: &String| name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control);
    if let Some(index) = names.iter().position(bad) {
        invalid.add(&format!("{FIELD}[{index}]"), "must have 1 to 200 characters, none of control");
        return None;
    }
    Some(names)
}

fn in_range(number: i32, min: u32, max: u32) -> Result<u32, String> {
    let fits = u32::try_from(number).ok().filter(|number| (min..=max).contains(number));
    fits.ok_or_else(|| if max == 0 { "must be 0".to_owned() } else { format!("must be from {min} to {max}") })
}

const fn task(task: pb::Task) -> Option<Task> {
    match task {
        pb::Task::Unspecified => None,
        pb::Task::Classification => Some(Task::Classification),
        pb::Task::Regression => Some(Task::Regression),
    }
}

/// Reads a batch; whether it fits its dataset is seen when that is known.
pub fn parts(batch: Option<pb::RecordBatch>) -> Result<Parts, Invalid> {
    let Some(batch) = batch else { return Err(Invalid::field("batch", "must be set")) };
    if !batch.arrow_ipc.is_empty() {
        let problem = "Arrow IPC is not taken yet: send record_ids, subject_ids, features and labels";
        return Err(Invalid::field("batch.arrow_ipc", problem));
    }
    let split = match batch.split() {
        pb::Split::Unspecified => return Err(Invalid::field("batch.split", "must be TRAIN or VALIDATION")),
        pb::Split::Train => Split::Training,
        pb::Split::Validation => Split::Validation,
    };
    let pb::RecordBatch { record_ids, subject_ids, features, labels, .. } = batch;
    Ok(Parts { record_ids, subject_ids, features, labels, split })
}

/// Reads what to value, and with how many neighbours.
pub fn start(request: &pb::StartValuationRequest) -> Result<(DatasetId, Option<NonZeroU32>), Invalid> {
    let mut invalid = Invalid::new();
    let dataset = invalid.check("dataset_id", DatasetId::parse(&request.dataset_id));
    match request.method() {
        pb::Method::KnnShapley => {}
        pb::Method::Unspecified => invalid.add("method", "must be KNN_SHAPLEY"),
        _ => invalid.add("method", "must be KNN_SHAPLEY: the other methods are not there yet"),
    }
    let parameters = request.parameters.unwrap_or_default();
    let k = invalid.check("parameters.k", in_range(parameters.k, 0, i32::MAX.unsigned_abs()));
    refuse_unused(&parameters, &mut invalid);
    invalid.finish(dataset.zip(k.map(NonZeroU32::new)))
}

/// KNN_SHAPLEY has one parameter, `k`.
fn refuse_unused(parameters: &pb::MethodParameters, invalid: &mut Invalid) {
    let uniform = matches!(parameters.weighting(), pb::Weighting::Unspecified | pb::Weighting::Uniform);
    let unused = [
        ("parameters.weighting", !uniform),
        ("parameters.radius", parameters.radius != 0.0),
        ("parameters.alpha", parameters.alpha != 0.0),
        ("parameters.beta", parameters.beta != 0.0),
        ("parameters.max_samples", parameters.max_samples != 0),
        ("parameters.convergence_tolerance", parameters.convergence_tolerance != 0.0),
        ("parameters.seed", parameters.seed != 0),
        ("parameters.model", parameters.model() != pb::Model::Unspecified),
        ("parameters.privacy", parameters.privacy.is_some()),
    ];
    for (field, _) in unused.into_iter().filter(|(_, set)| *set) {
        invalid.add(field, "must not be set: KNN_SHAPLEY does not use it");
    }
}

/// Reads a filter by state; unspecified is none.
pub const fn state_filter(state: pb::ValuationState) -> Option<State> {
    match state {
        pb::ValuationState::Unspecified => None,
        pb::ValuationState::Pending => Some(State::Pending),
        pb::ValuationState::Running => Some(State::Running),
        pb::ValuationState::Succeeded => Some(State::Succeeded),
        pb::ValuationState::Failed => Some(State::Failed),
        pb::ValuationState::Cancelled => Some(State::Cancelled),
    }
}

const fn state(state: State) -> pb::ValuationState {
    match state {
        State::Cancelled => pb::ValuationState::Cancelled,
        State::Failed => pb::ValuationState::Failed,
        State::Pending => pb::ValuationState::Pending,
        State::Running => pb::ValuationState::Running,
        State::Succeeded => pb::ValuationState::Succeeded,
    }
}

fn at(time: Option<Timestamp>) -> Option<prost_types::Timestamp> {
    time.map(timestamp)
}

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Writes a dataset.
pub fn dataset(dataset: &Dataset) -> pb::Dataset {
    let Description { display_name, text, shape, feature_names, purpose } = &dataset.description;
    let task = match shape.task {
        Task::Classification => pb::Task::Classification,
        Task::Regression => pb::Task::Regression,
    };
    pb::Dataset {
        dataset_id: dataset.id.to_string(),
        display_name: display_name.clone(),
        task: task.into(),
        feature_count: small(shape.feature_count.get()),
        purpose_id: purpose.to_string(),
        description: text.clone(),
        class_count: shape.class_count.map_or(0, |count| small(count.get())),
        feature_names: feature_names.clone(),
        privacy_budget: None,
        owner_account_id: dataset.owner.to_string(),
        training_record_count: dataset.counts.training,
        validation_record_count: dataset.counts.validation,
        revision: dataset.revision,
        etag: dataset.revision.to_string(),
        create_time: at(Some(dataset.created_at)),
        update_time: at(Some(dataset.updated_at)),
    }
}

/// Writes the reply of an append.
pub fn appended(appended: &Appended) -> pb::AppendRecordBatchResponse {
    pb::AppendRecordBatchResponse { appended_count: appended.count, dataset_revision: appended.revision }
}

/// Writes a valuation.
pub fn valuation(valuation: &Valuation) -> pb::Valuation {
    let parameters = pb::MethodParameters {
        k: small(valuation.method.k.get()),
        weighting: pb::Weighting::Uniform.into(),
        ..pb::MethodParameters::default()
    };
    let lineage = pb::Lineage {
        dataset_revision: valuation.dataset_revision,
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        ledger_index: -1,
        ..pb::Lineage::default()
    };
    let figures = valuation.summary;
    pb::Valuation {
        valuation_id: valuation.id.to_string(),
        dataset_id: valuation.dataset.to_string(),
        method: pb::Method::KnnShapley.into(),
        parameters: Some(parameters),
        state: state(valuation.state).into(),
        progress: Some(progress(valuation)),
        error: valuation.failure.map(status::failure),
        record_count: figures.map_or(0, |figures| figures.records),
        subject_count: figures.map_or(0, |figures| figures.subjects),
        exclusions: valuation.exclusions.iter().map(exclusion).collect(),
        lineage: Some(lineage),
        summary: figures.map(summary),
        stale_time: None,
        caveat: CAVEAT.to_owned(),
        etag: format!("{}-{}-{}", valuation.attempt, state(valuation.state) as i32, valuation.progress.done),
        create_time: at(Some(valuation.created_at)),
        start_time: at(valuation.started_at),
        end_time: at(valuation.ended_at),
    }
}

fn summary(summary: Summary) -> pb::ValuationSummary {
    pb::ValuationSummary {
        value_sum: summary.value_sum,
        full_utility: summary.full_utility,
        empty_utility: summary.empty_utility,
        efficiency_gap: (summary.value_sum - (summary.full_utility - summary.empty_utility)).abs(),
        min_value: summary.extremes.map_or(0.0, |extremes| extremes.min),
        max_value: summary.extremes.map_or(0.0, |extremes| extremes.max),
        ..pb::ValuationSummary::default()
    }
}

fn exclusion(exclusion: &Exclusion) -> pb::Exclusion {
    let cause = match exclusion.cause {
        Cause::Erased => pb::exclusion::Cause::Unreadable,
        Cause::NotPermitted => pb::exclusion::Cause::NotPermitted,
        Cause::Withdrawn => pb::exclusion::Cause::Withdrawn,
    };
    pb::Exclusion {
        cause: cause.into(),
        training_record_count: exclusion.training,
        validation_record_count: exclusion.validation,
        subject_count: exclusion.subjects,
    }
}

/// Writes how far a valuation is.
pub fn progress(valuation: &Valuation) -> pb::ValuationProgress {
    let progress = &valuation.progress;
    let remaining = progress.remaining().filter(|_| valuation.state == State::Running);
    pb::ValuationProgress {
        valuation_id: valuation.id.to_string(),
        state: state(valuation.state).into(),
        done_units: progress.done,
        total_units: progress.total,
        units_per_second: progress.rate(),
        remaining_duration: remaining.map(duration),
        update_time: at(Some(progress.measured_at)),
    }
}

/// Writes the operation that stands for a valuation.
pub fn operation(of: &Valuation) -> Operation {
    let result = match of.state {
        State::Pending | State::Running => None,
        State::Cancelled => Some(operation::Result::Error(status::cancelled())),
        State::Failed => of.failure.map(|failure| operation::Result::Error(status::failure(failure))),
        State::Succeeded => Some(operation::Result::Response(any("Valuation", &valuation(of)))),
    };
    Operation {
        name: format!("operations/{}", of.id),
        metadata: Some(any("ValuationProgress", &progress(of))),
        done: of.state.is_final(),
        result,
    }
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    let type_url = format!("type.googleapis.com/portal.valuation.v1.{name}");
    prost_types::Any { type_url, value: message.encode_to_vec() }
}

/// Writes the value of a record. A standard error that one validation record can't give is NaN.
pub fn record_value(value: &RecordValue) -> pb::RecordValue {
    pb::RecordValue {
        record_id: value.member.record_id.clone(),
        subject_id: value.member.subject.to_string(),
        value: value.standing.value,
        standard_error: value.standing.standard_error.unwrap_or(f64::NAN),
        rank: value.standing.rank,
        percentile: value.standing.percentile,
    }
}

/// Writes the value of a subject. Without a standard error nothing tells it from zero.
pub fn subject_value(value: &SubjectValue) -> pb::SubjectValue {
    /// Standard errors on either side of an estimate that make a 95 % interval.
    const INTERVAL: f64 = 1.96;
    let standing = value.standing;
    let near_zero = standing.standard_error.is_none_or(|error| standing.value.abs() <= INTERVAL * error);
    pb::SubjectValue {
        subject_id: value.subject.to_string(),
        value: standing.value,
        standard_error: standing.standard_error.unwrap_or(f64::NAN),
        rank: standing.rank,
        percentile: standing.percentile,
        record_count: value.records,
        near_zero,
    }
}

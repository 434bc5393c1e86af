//! Things that a controller makes, through the edge as everybody else.

use portal_proto::consent::v1::notice_service_client::NoticeServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::{
    CreateNoticeRequest, CreatePurposeRequest, LegalBasis, Notice, PublishNoticeRequest,
    PublishPurposeRequest, Purpose,
};
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_proto::valuation::v1::{CreateDatasetRequest, Dataset, RecordBatch, Split, Task};

use crate::Channel;

/// A purpose as a controller would write it.
#[must_use]
pub fn purpose(name: &str) -> Purpose {
    Purpose {
        display_name: name.to_owned(),
        description: format!("Tests need {name}."),
        dpv_purposes: vec!["dpv:ResearchAndDevelopment".to_owned()],
        legal_basis: LegalBasis::Consent.into(),
        personal_data: vec!["dpv-pd:Name".to_owned()],
        jurisdiction: "DE".to_owned(),
        ..Purpose::default()
    }
}

/// Creates and publishes a purpose.
pub async fn published_purpose(controller: &Channel, name: &str) -> Purpose {
    let mut purposes = PurposeServiceClient::new(controller.clone());
    let request = CreatePurposeRequest { purpose: Some(purpose(name)), ..CreatePurposeRequest::default() };
    let purpose_id = purposes.create_purpose(request).await.unwrap().into_inner().purpose_id;
    let request = PublishPurposeRequest { purpose_id, ..PublishPurposeRequest::default() };
    purposes.publish_purpose(request).await.unwrap().into_inner()
}

/// A notice that explains purposes, in English.
#[must_use]
pub fn notice(title: &str, purpose_ids: &[&str]) -> Notice {
    Notice {
        title: title.to_owned(),
        bodies: [("en".to_owned(), format!("# {title}\n\nWe test."))].into(),
        purpose_ids: purpose_ids.iter().map(|&id| id.to_owned()).collect(),
        ..Notice::default()
    }
}

/// Creates and publishes a notice.
pub async fn published_notice(controller: &Channel, title: &str, purpose_ids: &[&str]) -> Notice {
    let mut notices = NoticeServiceClient::new(controller.clone());
    let request =
        CreateNoticeRequest { notice: Some(notice(title, purpose_ids)), ..CreateNoticeRequest::default() };
    let notice_id = notices.create_notice(request).await.unwrap().into_inner().notice_id;
    let request = PublishNoticeRequest { notice_id, ..PublishNoticeRequest::default() };
    notices.publish_notice(request).await.unwrap().into_inner()
}

/// Creates a dataset of two features and two classes.
pub async fn dataset(controller: &Channel, purpose_id: &str) -> Dataset {
    let dataset = Dataset {
        display_name: "Points".to_owned(),
        task: Task::Classification.into(),
        feature_count: 2,
        class_count: 2,
        purpose_id: purpose_id.to_owned(),
        ..Dataset::default()
    };
    let request = CreateDatasetRequest { dataset: Some(dataset), ..CreateDatasetRequest::default() };
    DatasetServiceClient::new(controller.clone()).create_dataset(request).await.unwrap().into_inner()
}

/// Records of one subject that fit [`dataset`].
#[must_use]
pub fn record_batch(record_ids: Vec<String>, subject_id: &str, split: Split) -> RecordBatch {
    let count = record_ids.len();
    let class = |index: usize| if index.is_multiple_of(2) { 0.0 } else { 1.0 };
    RecordBatch {
        subject_ids: vec![subject_id.to_owned(); count],
        features: (0..count).flat_map(|index| [class(index), 1.0]).collect(),
        labels: (0..count).map(class).collect(),
        record_ids,
        split: split.into(),
        ..RecordBatch::default()
    }
}

//! The tables as sea-orm sees them; their columns are made in `m0001_initial` and `m0002_sealed_records`.
//!
//! `valuation` is seen three times: as a whole, and as the two parts of it that have a digest. What a worker writes while
//! it runs (lease, progress) is under none.

macro_rules! entities {
    ($($module:ident, $table:literal { $($(#[$meta:meta])* $field:ident: $type:ty,)+ })+) => {$(
        pub(super) mod $module {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub struct Model {
                $($(#[$meta])* pub $field: $type,)+
            }

            /// Rows hold personal data.
            impl std::fmt::Debug for Model {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str(concat!("[row of ", $table, "]"))
                }
            }

            #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        }
    )+};
}

entities! {
    dataset, "dataset" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: Uuid,
        owner: Uuid,
        display_name: String,
        description: String,
        task: i64,
        feature_count: i64,
        class_count: i64,
        feature_names: String,
        purpose_id: Uuid,
        training_count: i64,
        validation_count: i64,
        revision: i64,
        created_at: i64,
        updated_at: i64,
        row_digest: Option<Vec<u8>>,
    }
    append, "append" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: Uuid,
        dataset_id: Uuid,
        revision: Option<i64>,
        expires_at: i64,
        row_digest: Option<Vec<u8>>,
    }
    batch, "batch" {
        #[sea_orm(primary_key, auto_increment = false)]
        append_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        position: i64,
        split: i64,
        features: Vec<u8>,
        labels: Vec<u8>,
        sealed: Option<Vec<u8>>,
        row_digest: Option<Vec<u8>>,
    }
    staged_record, "staged_record" {
        #[sea_orm(primary_key, auto_increment = false)]
        append_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        position: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        batch_row: i64,
        record_id: String,
        subject_id: Uuid,
    }
    record, "record" {
        #[sea_orm(primary_key, auto_increment = false)]
        dataset_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        record_id: String,
        append_id: Uuid,
        position: i64,
        batch_row: i64,
        subject_id: Uuid,
        revision: i64,
    }
    valuation, "valuation" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: Uuid,
        dataset_id: Uuid,
        dataset_revision: i64,
        owner: Uuid,
        method: i64,
        k: i64,
        state: i64,
        failure: Option<String>,
        attempt: i64,
        lease_owner: Option<Uuid>,
        lease_until: i64,
        done_units: i64,
        total_units: i64,
        run_started_at: Option<i64>,
        measured_at: i64,
        record_count: Option<i64>,
        subject_count: Option<i64>,
        value_sum: Option<f64>,
        full_utility: Option<f64>,
        empty_utility: Option<f64>,
        min_value: Option<f64>,
        max_value: Option<f64>,
        created_at: i64,
        started_at: Option<i64>,
        ended_at: Option<i64>,
        row_digest: Option<Vec<u8>>,
        result_digest: Option<Vec<u8>>,
    }
    valuation_question, "valuation" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: Uuid,
        dataset_id: Uuid,
        dataset_revision: i64,
        owner: Uuid,
        method: i64,
        k: i64,
        created_at: i64,
        row_digest: Option<Vec<u8>>,
    }
    valuation_answer, "valuation" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: Uuid,
        state: i64,
        failure: Option<String>,
        record_count: Option<i64>,
        subject_count: Option<i64>,
        value_sum: Option<f64>,
        full_utility: Option<f64>,
        empty_utility: Option<f64>,
        min_value: Option<f64>,
        max_value: Option<f64>,
        ended_at: Option<i64>,
        result_digest: Option<Vec<u8>>,
    }
    exclusion, "exclusion" {
        #[sea_orm(primary_key, auto_increment = false)]
        valuation_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        cause: i64,
        training_count: i64,
        validation_count: i64,
        subject_count: i64,
        row_digest: Option<Vec<u8>>,
    }
    record_value, "record_value" {
        #[sea_orm(primary_key, auto_increment = false)]
        valuation_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        position: i64,
        record_id: String,
        subject_id: Uuid,
        value: f64,
        standard_error: Option<f64>,
        standing: i64,
        percentile: f64,
        measure: Option<portal_store::Sealed<crate::domain::outcome::Standing>>,
        row_digest: Option<Vec<u8>>,
    }
    subject_value, "subject_value" {
        #[sea_orm(primary_key, auto_increment = false)]
        valuation_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        position: i64,
        subject_id: Uuid,
        record_count: i64,
        value: f64,
        standard_error: Option<f64>,
        standing: i64,
        percentile: f64,
        measure: Option<portal_store::Sealed<crate::domain::outcome::Standing>>,
        row_digest: Option<Vec<u8>>,
    }
}

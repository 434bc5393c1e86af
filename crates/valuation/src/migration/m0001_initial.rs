//! Datasets, appends, batches, records; valuations with their exclusions and values.

use portal_store::columns::{bytes, id, integer, text, timestamp};
use portal_store::idempotency;
use sea_orm_migration::sea_query::{ColumnDef, Index, IndexCreateStatement, Table, TableCreateStatement};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Initial;

impl MigrationName for Initial {
    fn name(&self) -> &'static str {
        "m0001_initial"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Initial {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [dataset(), append(), batch(), staged_record(), record()] {
            manager.create_table(table).await?;
        }
        for table in [valuation(), exclusion(), record_value(), subject_value()] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        idempotency::create_table(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        idempotency::drop_table(manager).await?;
        let tables = [
            "subject_value",
            "record_value",
            "exclusion",
            "valuation",
            "record",
            "staged_record",
            "batch",
            "append",
            "dataset",
        ];
        for table in tables {
            manager.drop_table(Table::drop().table(table).take()).await?;
        }
        Ok(())
    }
}

fn dataset() -> TableCreateStatement {
    Table::create()
        .table("dataset")
        .col(id("id").primary_key())
        .col(id("owner"))
        .col(text("display_name"))
        .col(text("description"))
        .col(integer("task"))
        .col(integer("feature_count"))
        .col(integer("class_count"))
        .col(text("feature_names"))
        .col(id("purpose_id"))
        .col(integer("training_count"))
        .col(integer("validation_count"))
        .col(integer("revision"))
        .col(timestamp("created_at"))
        .col(timestamp("updated_at"))
        .take()
}

/// One call that appends records. Its records are the dataset's once it has a revision.
fn append() -> TableCreateStatement {
    Table::create()
        .table("append")
        .col(id("id").primary_key())
        .col(id("dataset_id"))
        .col(integer("revision").null())
        .col(timestamp("expires_at"))
        .take()
}

/// The numbers of a batch, little-endian f32.
fn batch() -> TableCreateStatement {
    Table::create()
        .table("batch")
        .col(id("append_id"))
        .col(integer("position"))
        .col(integer("split"))
        .col(bytes("features"))
        .col(bytes("labels"))
        .primary_key(Index::create().col("append_id").col("position"))
        .take()
}

/// Records of an append that is not finished.
fn staged_record() -> TableCreateStatement {
    Table::create()
        .table("staged_record")
        .col(id("append_id"))
        .col(integer("position"))
        .col(integer("batch_row"))
        .col(text("record_id"))
        .col(id("subject_id"))
        .primary_key(Index::create().col("append_id").col("position").col("batch_row"))
        .take()
}

/// Which records there are: a row of a batch without one here is no record.
fn record() -> TableCreateStatement {
    Table::create()
        .table("record")
        .col(id("dataset_id"))
        .col(text("record_id"))
        .col(id("append_id"))
        .col(integer("position"))
        .col(integer("batch_row"))
        .col(id("subject_id"))
        .col(integer("revision"))
        .primary_key(Index::create().col("dataset_id").col("record_id"))
        .take()
}

fn valuation() -> TableCreateStatement {
    Table::create()
        .table("valuation")
        .col(id("id").primary_key())
        .col(id("dataset_id"))
        .col(integer("dataset_revision"))
        .col(id("owner"))
        .col(integer("method"))
        .col(integer("k"))
        .col(integer("state"))
        .col(text("failure").null())
        .col(integer("attempt"))
        .col(id("lease_owner").null())
        .col(timestamp("lease_until"))
        .col(integer("done_units"))
        .col(integer("total_units"))
        .col(timestamp("run_started_at").null())
        .col(timestamp("measured_at"))
        .col(integer("record_count").null())
        .col(integer("subject_count").null())
        .col(number("value_sum").null())
        .col(number("full_utility").null())
        .col(number("empty_utility").null())
        .col(number("min_value").null())
        .col(number("max_value").null())
        .col(timestamp("created_at"))
        .col(timestamp("started_at").null())
        .col(timestamp("ended_at").null())
        .take()
}

fn exclusion() -> TableCreateStatement {
    Table::create()
        .table("exclusion")
        .col(id("valuation_id"))
        .col(integer("cause"))
        .col(integer("training_count"))
        .col(integer("validation_count"))
        .col(integer("subject_count"))
        .primary_key(Index::create().col("valuation_id").col("cause"))
        .take()
}

/// Position 0 is the highest value.
fn record_value() -> TableCreateStatement {
    Table::create()
        .table("record_value")
        .col(id("valuation_id"))
        .col(integer("position"))
        .col(text("record_id"))
        .col(id("subject_id"))
        .col(number("value"))
        .col(number("standard_error").null())
        .col(integer("standing"))
        .col(number("percentile"))
        .primary_key(Index::create().col("valuation_id").col("position"))
        .take()
}

/// Position 0 is the highest value.
fn subject_value() -> TableCreateStatement {
    Table::create()
        .table("subject_value")
        .col(id("valuation_id"))
        .col(integer("position"))
        .col(id("subject_id"))
        .col(integer("record_count"))
        .col(number("value"))
        .col(number("standard_error").null())
        .col(integer("standing"))
        .col(number("percentile"))
        .primary_key(Index::create().col("valuation_id").col("position"))
        .take()
}

fn indexes() -> Vec<IndexCreateStatement> {
    let index = |table: &'static str, columns: &[&'static str], unique: bool| {
        let mut index = Index::create();
        index.name(format!("{table}_{}", columns.join("_"))).table(table);
        for column in columns {
            index.col(*column);
        }
        if unique { index.unique().take() } else { index.take() }
    };
    vec![
        index("dataset", &["owner", "id"], false),
        index("append", &["revision", "expires_at"], false),
        index("append", &["dataset_id", "revision"], false),
        index("staged_record", &["append_id", "record_id"], false),
        index("record", &["append_id", "position", "batch_row"], true),
        index("record", &["dataset_id", "subject_id"], false),
        index("valuation", &["owner", "id"], false),
        index("valuation", &["state", "lease_until"], false),
        index("record_value", &["valuation_id", "subject_id"], false),
        index("subject_value", &["valuation_id", "subject_id"], true),
    ]
}

/// A 64-bit floating-point number.
fn number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).double().not_null().take()
}

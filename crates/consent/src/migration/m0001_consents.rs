//! Purposes, notices, consents, their events and evidence; request ids.
//!
//! Two unique indexes hold what the domain promises whatever happens above them: one consent per subject and purpose, and
//! one event per number within a consent.

use portal_store::columns::{bytes, id, integer, text, timestamp};
use portal_store::idempotency;
use sea_orm_migration::prelude::*;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_consents"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        idempotency::create_table(manager).await?;
        for table in [
            life("purpose", "purpose_id"),
            purpose_revision(),
            life("notice", "notice_id"),
            notice_revision(),
            notice_purpose(),
            consent(),
            consent_event(),
            evidence(),
        ] {
            manager.create_table(table).await?;
        }
        for (table, columns, unique) in INDEXES {
            let mut index = Index::create();
            index.name(format!("{table}_{}", columns.join("_"))).table(*table);
            for column in *columns {
                index.col(*column);
            }
            if *unique {
                index.unique();
            }
            manager.create_index(index.take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            "evidence",
            "consent_event",
            "consent",
            "notice_purpose",
            "notice_revision",
            "notice",
            "purpose_revision",
            "purpose",
        ] {
            manager.drop_table(Table::drop().table(table).take()).await?;
        }
        idempotency::drop_table(manager).await
    }
}

/// Table, columns, whether unique.
const INDEXES: &[(&str, &[&str], bool)] = &[
    ("notice_purpose", &["purpose_id"], false),
    ("consent", &["subject_id", "purpose_id"], true),
    ("consent", &["subject_id", "recorded_at", "consent_id"], false),
    ("consent", &["purpose_id", "recorded_at", "consent_id"], false),
    ("consent", &["recorded_at", "consent_id"], false),
    ("consent_event", &["consent_id", "sequence"], true),
    ("consent_event", &["subject_id", "recorded_at", "sequence", "event_id"], false),
];

fn life(table: &'static str, key: &'static str) -> TableCreateStatement {
    Table::create()
        .table(table)
        .col(id(key).primary_key())
        .col(integer("newest_revision"))
        .col(integer("published_revision").null())
        .col(timestamp("archived_at").null())
        .col(integer("version"))
        .col(timestamp("created_at"))
        .col(timestamp("updated_at"))
        .take()
}

fn purpose_revision() -> TableCreateStatement {
    Table::create()
        .table("purpose_revision")
        .col(id("purpose_id"))
        .col(integer("revision"))
        .col(timestamp("published_at").null())
        .col(text("display_name"))
        .col(text("description"))
        .col(text("dpv_purposes"))
        .col(text("legal_basis"))
        .col(text("personal_data"))
        .col(ColumnDef::new("special_category").boolean().not_null())
        .col(text("recipients"))
        .col(integer("retention").null())
        .col(integer("validity").null())
        .col(text("jurisdiction"))
        .primary_key(Index::create().col("purpose_id").col("revision"))
        .take()
}

fn notice_revision() -> TableCreateStatement {
    Table::create()
        .table("notice_revision")
        .col(id("notice_id"))
        .col(integer("revision"))
        .col(timestamp("published_at").null())
        .col(text("title"))
        .col(text("bodies"))
        .col(text("purposes"))
        .col(ColumnDef::new("material_change").boolean().not_null())
        .col(bytes("content_hash").null())
        .primary_key(Index::create().col("notice_id").col("revision"))
        .take()
}

fn notice_purpose() -> TableCreateStatement {
    Table::create()
        .table("notice_purpose")
        .col(id("notice_id"))
        .col(integer("revision"))
        .col(id("purpose_id"))
        .primary_key(Index::create().col("notice_id").col("revision").col("purpose_id"))
        .take()
}

fn consent() -> TableCreateStatement {
    Table::create()
        .table("consent")
        .col(id("consent_id").primary_key())
        .col(id("subject_id"))
        .col(id("purpose_id"))
        .col(integer("purpose_revision"))
        .col(id("notice_id"))
        .col(integer("notice_revision"))
        .col(text("status"))
        .col(timestamp("event_at"))
        .col(timestamp("recorded_at"))
        .col(timestamp("expires_at").null())
        .col(integer("version"))
        .take()
}

fn consent_event() -> TableCreateStatement {
    Table::create()
        .table("consent_event")
        .col(id("event_id").primary_key())
        .col(id("consent_id"))
        .col(integer("sequence"))
        .col(id("subject_id"))
        .col(id("purpose_id"))
        .col(integer("purpose_revision"))
        .col(id("notice_id"))
        .col(integer("notice_revision"))
        .col(text("language").null())
        .col(text("previous_status"))
        .col(text("status"))
        .col(text("method").null())
        .col(text("reason").null())
        .col(text("actor"))
        .col(timestamp("event_at"))
        .col(timestamp("recorded_at"))
        .col(timestamp("expires_at").null())
        .take()
}

fn evidence() -> TableCreateStatement {
    Table::create()
        .table("evidence")
        .col(id("event_id"))
        .col(integer("position"))
        .col(text("kind"))
        .col(text("media_type"))
        .col(bytes("content"))
        .col(bytes("content_hash"))
        .primary_key(Index::create().col("event_id").col("position"))
        .take()
}

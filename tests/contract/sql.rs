//! The databases themselves, for somebody who has got at them.

use std::path::Path;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement};

/// One database.
pub struct Sql(DatabaseConnection);

impl Sql {
    /// The database of `portal up` in this file.
    pub async fn file(file: &Path) -> Self {
        Self::at(&format!("sqlite:{}?mode=rw", file.display())).await
    }

    pub async fn at(url: &str) -> Self {
        Self(Database::connect(url).await.unwrap())
    }

    /// Changes something; says how many rows.
    pub async fn run(&self, sql: &str) -> u64 {
        self.0.execute_raw(self.statement(sql)).await.unwrap().rows_affected()
    }

    /// The first column of what is found, which must be text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.0.query_all_raw(self.statement(sql)).await.unwrap();
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }

    pub async fn count(&self, from: &str) -> i64 {
        let sql = format!("SELECT COUNT(*) FROM {from}");
        self.0.query_one_raw(self.statement(&sql)).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    }

    pub async fn close(self) {
        self.0.close().await.unwrap();
    }

    fn statement(&self, sql: &str) -> Statement {
        Statement::from_string(self.0.get_database_backend(), sql)
    }
}

//! What somebody does who has got at the database.

use portal_store::{Database, ReadTx, StoreError, Tx};
use sea_orm::{ConnectionTrait, QueryResult, Statement, TryGetable, Value};

/// Runs a statement and says how many rows it hit.
pub async fn run(database: &Database, sql: &str, values: impl IntoIterator<Item = Value>) -> u64 {
    let values: &Vec<Value> = &values.into_iter().collect();
    let run = |tx: Tx| async move {
        let statement = Statement::from_sql_and_values(tx.conn().get_database_backend(), sql, values.clone());
        Ok::<_, StoreError>(tx.conn().execute_raw(statement).await?.rows_affected())
    };
    database.run_tx("sql", run).await.unwrap()
}

/// Reads rows.
pub async fn query(database: &Database, sql: &str) -> Vec<QueryResult> {
    let run = |tx: ReadTx| async move {
        let statement = Statement::from_string(tx.conn().get_database_backend(), sql);
        Ok::<_, StoreError>(tx.conn().query_all_raw(statement).await?)
    };
    database.read("sql", run).await.unwrap()
}

/// All entries of the ledger: in one statement, since they move from one table to the other.
pub const ENTRIES: &str =
    "(SELECT kind FROM ledger_pending UNION ALL SELECT kind FROM ledger_entry) AS entries";

/// The first column of the first row.
pub async fn one<T: TryGetable>(database: &Database, sql: &str) -> T {
    query(database, sql).await[0].try_get_by_index(0).unwrap()
}

/// Changes rows that nobody but the service may change.
pub async fn tamper(database: &Database, change: &str) {
    assert_ne!(run(database, change, []).await, 0, "{change}");
}

/// Keeps a table as it is, to be [put back](put_back).
pub async fn keep(database: &Database, table: &str) {
    run(database, &format!("CREATE TABLE kept AS SELECT * FROM {table}"), []).await;
}

/// Puts a table back that was [kept](keep).
pub async fn put_back(database: &Database, table: &str) {
    for statement in [
        format!("DELETE FROM {table}"),
        format!("INSERT INTO {table} SELECT * FROM kept"),
        "DROP TABLE kept".to_owned(),
    ] {
        run(database, &statement, []).await;
    }
}

/// Every value of a table, whatever its type, as bytes, in the order of its keys: to be compared, or searched.
pub async fn everything(database: &Database, table: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in query(database, &format!("SELECT * FROM {table} ORDER BY 1, 2, 3")).await {
        for column in row.column_names() {
            bytes.extend_from_slice(&value(&row, &column));
            bytes.push(b'\n');
        }
    }
    bytes
}

fn value(row: &QueryResult, column: &str) -> Vec<u8> {
    if let Ok(text) = row.try_get::<Option<String>>("", column) {
        text.map_or_else(|| b"NULL".to_vec(), String::into_bytes)
    } else if let Ok(value) = row.try_get::<Vec<u8>>("", column) {
        value
    } else if let Ok(number) = row.try_get::<i64>("", column) {
        number.to_string().into_bytes()
    } else if let Ok(id) = row.try_get::<uuid::Uuid>("", column) {
        id.into_bytes().to_vec()
    } else {
        row.try_get::<bool>("", column).unwrap().to_string().into_bytes()
    }
}

/// An id as a literal.
pub fn id(database: &Database, id: &str) -> String {
    let id = uuid::Uuid::parse_str(id).unwrap().simple();
    if format!("{database:?}").contains("PostgreSQL") { format!("'{id}'") } else { format!("x'{id}'") }
}

pub fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

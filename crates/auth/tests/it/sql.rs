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

/// The first column of the first row.
pub async fn one<T: TryGetable>(database: &Database, sql: &str) -> T {
    query(database, sql).await[0].try_get_by_index(0).unwrap()
}

/// Every value of a table, whatever its type, as bytes: to be searched.
pub async fn everything(database: &Database, table: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in query(database, &format!("SELECT * FROM {table}")).await {
        for column in row.column_names() {
            if let Ok(Some(text)) = row.try_get::<Option<String>>("", &column) {
                bytes.extend_from_slice(text.as_bytes());
            } else if let Ok(Some(value)) = row.try_get::<Option<Vec<u8>>>("", &column) {
                bytes.extend_from_slice(&value);
            }
            bytes.push(b'\n');
        }
    }
    bytes
}

/// An id as a literal.
pub fn id(database: &Database, id: &str) -> String {
    let id = uuid::Uuid::parse_str(id).unwrap().simple();
    if is_postgres(database) { format!("'{id}'") } else { format!("x'{id}'") }
}

pub fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// The rows of a table as text, in the order of their first column.
pub async fn rows(database: &Database, table: &str, columns: &[&str]) -> Vec<String> {
    let postgres = is_postgres(database);
    let text = |column: &&str| {
        if postgres {
            format!("COALESCE(CAST({column} AS TEXT), 'NULL')")
        } else {
            format!("quote({column})")
        }
    };
    let texts: Vec<_> = columns.iter().map(text).collect();
    let select = format!("SELECT {} FROM {table} ORDER BY {}", texts.join(" || ', ' || "), columns[0]);
    query(database, &select).await.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

fn is_postgres(database: &Database) -> bool {
    format!("{database:?}").contains("PostgreSQL")
}

/// Makes every INSERT into `table` fail.
pub async fn refuse_inserts(database: &Database, table: &str) {
    if is_postgres(database) {
        let refuse = "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger AS \
            $$ BEGIN RAISE EXCEPTION 'refused'; END $$ LANGUAGE plpgsql";
        run(database, refuse, []).await;
        let trigger = format!(
            "CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
        );
        run(database, &trigger, []).await;
    } else {
        let trigger = format!(
            "CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END"
        );
        run(database, &trigger, []).await;
    }
}

/// Takes [`refuse_inserts`] back.
pub async fn allow_inserts(database: &Database, table: &str) {
    let on = if is_postgres(database) { format!(" ON {table}") } else { String::new() };
    run(database, &format!("DROP TRIGGER refuse_{table}{on}"), []).await;
}

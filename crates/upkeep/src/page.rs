//! Pages: the rows of a table in the order of their keys, some at a time.

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ColumnType, EntityTrait, ExprTrait, ModelTrait, QueryFilter, QueryOrder, QuerySelect,
    Select, Value,
};

/// Which rows a batch or a page is about, in the order of their keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// Rows after this key; `None` from the first one.
    pub after: Option<Vec<u8>>,
    /// How many rows at most.
    pub limit: u32,
}

impl Page {
    /// The page with no more rows than `most`.
    #[must_use]
    pub fn at_most(&self, most: u32) -> Self {
        Self { after: self.after.clone(), limit: Ord::min(self.limit, most) }
    }

    /// Those of `rows` that are on the page, in the order of `key`: columns with UUIDs, with numbers that are not
    /// negative, or one with bytes.
    #[must_use]
    pub fn of<E: EntityTrait>(&self, rows: Select<E>, key: &[E::Column]) -> Select<E> {
        let after = self.after.as_deref().map(|after| {
            let columns = Expr::tuple(key.iter().map(|column| Expr::col(*column)));
            columns.gt(Expr::tuple(values(key, after).into_iter().map(Expr::val)))
        });
        let rows = after.into_iter().fold(rows, QueryFilter::filter);
        let rows = key.iter().fold(rows, |rows, column| rows.order_by_asc(*column));
        rows.limit(u64::from(self.limit))
    }
}

/// The key of `row` in bytes, which [`Page::after`] takes.
#[must_use]
pub fn key_of<M: ModelTrait>(row: &M, key: &[<M::Entity as EntityTrait>::Column]) -> Vec<u8> {
    let bytes = |column: &<M::Entity as EntityTrait>::Column| match row.get(*column) {
        Value::BigInt(Some(number)) => number.to_be_bytes().to_vec(),
        Value::Bytes(Some(bytes)) => bytes,
        Value::Uuid(Some(id)) => id.as_bytes().to_vec(),
        _ => Vec::new(),
    };
    key.iter().flat_map(bytes).collect()
}

/// The values of a key that these are the bytes of.
fn values<C: ColumnTrait>(key: &[C], bytes: &[u8]) -> Vec<Value> {
    let mut rest = bytes;
    let mut take = |length| {
        let (taken, left) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = left;
        taken
    };
    let value = |column: &C| match column.def().get_column_type() {
        ColumnType::BigInteger => take(8).try_into().map_or(i64::MIN, i64::from_be_bytes).into(),
        ColumnType::Uuid => Uuid::from_slice(take(16)).unwrap_or_default().into(),
        _ => take(usize::MAX).to_vec().into(),
    };
    key.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use sea_orm::{DbBackend, QueryTrait};

    use super::*;

    mod entity {
        use sea_orm::entity::prelude::*;

        #[derive(Clone, Debug, DeriveEntityModel)]
        #[sea_orm(table_name = "letter")]
        pub struct Model {
            #[sea_orm(primary_key, auto_increment = false)]
            pub id: Uuid,
            #[sea_orm(primary_key, auto_increment = false)]
            pub number: i64,
            pub hash: Vec<u8>,
        }

        #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}
    }
    use entity::{Column, Entity, Model};

    const ROW: Uuid = Uuid::from_u128(7);

    fn check(key: &[Column], expected: &[Value]) {
        let row = Model { id: ROW, number: 258, hash: vec![9; 32] };
        assert_eq!(values(key, &key_of(&row, key)), expected);
    }

    #[test]
    fn keys_come_back_from_their_bytes() {
        check(&[Column::Id], &[ROW.into()]);
        check(&[Column::Number], &[258_i64.into()]);
        check(&[Column::Hash], &[vec![9_u8; 32].into()]);
        check(&[Column::Id, Column::Number], &[ROW.into(), 258_i64.into()]);
    }

    #[test]
    fn a_page_begins_after_a_key_of_two_parts() {
        let row = Model { id: ROW, number: 258, hash: Vec::new() };
        let key = &[Column::Id, Column::Number];
        let page = Page { after: Some(key_of(&row, key)), limit: 100 }.at_most(10);
        let query = page.of(Entity::find(), key).build(DbBackend::Postgres);
        let found =
            r#"WHERE ("id", "number") > ($1, $2) ORDER BY "letter"."id" ASC, "letter"."number" ASC LIMIT $3"#;
        assert!(query.sql.ends_with(found), "{}", query.sql);
        let first = Page { after: None, limit: 100 }.of(Entity::find(), key).build(DbBackend::Sqlite);
        assert!(!first.sql.contains("WHERE"), "{}", first.sql);
    }
}

//! Page tokens: sealed, and good for the same list of the same caller only.

use portal_core::id::Id;
use portal_core::{Invalid, PageSize};
use portal_crypto::page_token::PageTokenKey;
use portal_mesh::Caller;
use portal_mesh::policy::Action;
use prost::Message;
use uuid::Uuid;

/// A page of a list, as it was asked for.
pub struct Page<const N: usize> {
    scope: Vec<u8>,
    size: PageSize,
    after: Option<[u8; N]>,
}

/// Makes and reads the tokens.
pub struct Pages(pub PageTokenKey);

impl Pages {
    /// Reads which page of `A` is wanted. `filters` is the request without page size and token.
    pub fn parse<A: Action, const N: usize>(
        &self,
        caller: &Caller,
        filters: &impl Message,
        (size, token): (i32, &str),
    ) -> Result<Page<N>, Invalid> {
        let mut invalid = Invalid::new();
        // Neither a method nor a caller's key holds a zero byte, so no two lists share a scope.
        let mut scope = [A::METHOD.as_bytes(), &[0], caller.key().as_bytes(), &[0]].concat();
        scope.extend(filters.encode_to_vec());
        let size = PageSize::parse(size).map_err(|error| {
            error.violations().iter().for_each(|found| invalid.add(&found.field, &found.description));
        });
        let after = if token.is_empty() {
            Some(None)
        } else {
            let position = self.0.open(&scope, token).map_err(|error| error.to_string());
            let position = position.and_then(|position| {
                <[u8; N]>::try_from(position).map_err(|_| "is not a token of this list".to_owned())
            });
            invalid.check("page_token", position).map(Some)
        };
        let page = size.ok().zip(after).map(|(size, after)| Page { scope, size, after });
        invalid.finish(page)
    }

    /// Cuts `found` to the page and makes the token of the next, if there is more.
    pub fn cut<T, const N: usize>(
        &self,
        page: &Page<N>,
        found: &mut Vec<T>,
        position: impl Fn(&T) -> [u8; N],
    ) -> String {
        let size = usize::try_from(page.size.get()).unwrap_or(usize::MAX);
        if found.len() <= size {
            return String::new();
        }
        found.truncate(size);
        found.last().map_or_else(String::new, |last| self.0.seal(&page.scope, &position(last)))
    }
}

impl<const N: usize> Page<N> {
    /// How many to look for: one more than fit shows whether there is a next page.
    pub fn limit(&self) -> u32 {
        self.size.get() + 1
    }
}

impl Page<16> {
    /// Where it begins, in a list that is ordered by id.
    pub fn after_id<T: Id>(&self) -> Option<T> {
        self.after.map(|bytes| T::from_uuid(Uuid::from_bytes(bytes)))
    }
}

impl Page<8> {
    /// Where it begins, in a list that is ordered by position.
    pub fn after_position(&self) -> Option<i64> {
        self.after.map(i64::from_be_bytes)
    }
}

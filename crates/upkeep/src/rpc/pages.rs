//! The pages of lists that are at hand as a whole.

use portal_core::{Invalid, PageSize};
use portal_crypto::page_token::PageTokenKey;
use portal_mesh::Caller;
use portal_mesh::policy::Action;

/// A page of a list of `A`, as it was asked for: its token is good for the same caller and filters only.
pub(super) struct Pages<'a> {
    tokens: &'a PageTokenKey,
    scope: Vec<u8>,
    size: usize,
    after: Option<Vec<u8>>,
}

impl<'a> Pages<'a> {
    /// Reads which page is wanted.
    pub(super) fn parse<A: Action>(
        tokens: &'a PageTokenKey,
        caller: &Caller,
        filters: [i32; 2],
        (size, token): (i32, &str),
    ) -> Result<Self, Invalid> {
        let mut invalid = Invalid::new();
        let scope = format!("{}\n{}\n{filters:?}", A::METHOD, caller.key()).into_bytes();
        let size = PageSize::parse(size).map_err(|error| {
            error.violations().iter().for_each(|found| invalid.add(&found.field, &found.description));
        });
        let after = match token {
            "" => Some(None),
            token => invalid.check("page_token", tokens.open(&scope, token)).map(Some),
        };
        let parsed = size.ok().zip(after);
        let (size, after) = invalid.finish(parsed)?;
        let size = usize::try_from(size.get()).unwrap_or(usize::MAX);
        Ok(Self { tokens, scope, size, after })
    }

    /// The items of the page, and the token of the next one. `position` is unique and tells where an item stands.
    pub(super) fn cut<T>(
        &self,
        items: impl Iterator<Item = T>,
        position: impl Fn(&T) -> Vec<u8>,
    ) -> (Vec<T>, String) {
        let mut skipping = self.after.is_some();
        let rest = items.filter(|item| {
            let skip = skipping;
            if skipping && self.after.as_deref() == Some(&position(item)) {
                skipping = false;
            }
            !skip
        });
        let mut page: Vec<T> = rest.take(self.size.saturating_add(1)).collect();
        if page.len() <= self.size {
            return (page, String::new());
        }
        page.truncate(self.size);
        let token = page.last().map(|last| self.tokens.seal(&self.scope, &position(last)));
        (page, token.unwrap_or_default())
    }
}

//! The life of a purpose or a notice: a draft, then published revisions that never change, with at most one draft of the
//! next revision beside them; archived in the end.
//!
//! Invariant: a revision number that was published is never written again.

use portal_core::Timestamp;

/// Where a resource is in its life. Read it through [`Life::facts`]; only transitions change it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Life(Facts);

/// What is stored of a [`Life`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Facts {
    /// The newest revision: the draft's if there is one.
    pub(crate) newest: u32,
    /// The revision in force.
    pub(crate) published: Option<u32>,
    pub(crate) archived_at: Option<Timestamp>,
    /// Rises with every change: the etag.
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// The state of one revision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Archived,
    Draft,
    Published,
}

/// Why a resource can't take a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum LifeError {
    #[error("it is archived")]
    Archived,
    #[error("it was changed since it was read")]
    EtagMismatch,
    #[error("there is no draft to publish")]
    NoDraft,
}

/// What an edit writes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Draft {
    /// The draft that is there.
    Existing,
    /// A new revision.
    Opened,
}

impl Life {
    /// A new draft.
    pub(crate) const fn begin(now: Timestamp) -> Self {
        Self(Facts {
            newest: 1,
            published: None,
            archived_at: None,
            version: 1,
            created_at: now,
            updated_at: now,
        })
    }

    /// What was stored, or `None` if no sequence of transitions leads there.
    pub(crate) fn restore(facts: Facts) -> Option<Self> {
        let published_fits = facts.published.map_or(facts.newest == 1, |published| {
            published >= 1 && (facts.newest == published || Some(facts.newest) == published.checked_add(1))
        });
        (published_fits && facts.version >= 1).then_some(Self(facts))
    }

    pub(crate) const fn facts(&self) -> &Facts {
        &self.0
    }

    pub(crate) fn has_draft(&self) -> bool {
        self.0.published != Some(self.0.newest)
    }

    /// The state of `revision`.
    pub(crate) fn state(&self, revision: u32) -> State {
        if self.0.archived_at.is_some() {
            State::Archived
        } else if self.0.published.is_some_and(|published| revision <= published) {
            State::Published
        } else {
            State::Draft
        }
    }

    /// Changes the draft, or opens one.
    pub(crate) fn edit(self, etag: Option<u64>, now: Timestamp) -> Result<(Self, Draft), LifeError> {
        self.matches(etag)?;
        self.alive()?;
        if self.has_draft() {
            return Ok((self.changed(self.0, now), Draft::Existing));
        }
        let facts = Facts { newest: self.0.newest.saturating_add(1), ..self.0 };
        Ok((self.changed(facts, now), Draft::Opened))
    }

    /// Puts the draft in force.
    pub(crate) fn publish(self, etag: Option<u64>, now: Timestamp) -> Result<Self, LifeError> {
        self.matches(etag)?;
        self.alive()?;
        if !self.has_draft() {
            return Err(LifeError::NoDraft);
        }
        Ok(self.changed(Facts { published: Some(self.0.newest), ..self.0 }, now))
    }

    /// Takes the resource out of use. Doing so again changes nothing.
    pub(crate) fn archive(self, etag: Option<u64>, now: Timestamp) -> Result<Self, LifeError> {
        self.matches(etag)?;
        if self.0.archived_at.is_some() {
            return Ok(self);
        }
        Ok(self.changed(Facts { archived_at: Some(now), ..self.0 }, now))
    }

    fn changed(self, facts: Facts, now: Timestamp) -> Self {
        Self(Facts {
            version: self.0.version.saturating_add(1),
            updated_at: now.max(self.0.updated_at),
            ..facts
        })
    }

    fn matches(&self, etag: Option<u64>) -> Result<(), LifeError> {
        if etag.is_some_and(|etag| etag != self.0.version) { Err(LifeError::EtagMismatch) } else { Ok(()) }
    }

    fn alive(&self) -> Result<(), LifeError> {
        if self.0.archived_at.is_some() { Err(LifeError::Archived) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const T1: Timestamp = Timestamp::from_seconds(1);
    const T2: Timestamp = Timestamp::from_seconds(2);

    #[test]
    fn a_published_revision_is_never_written_again() {
        let life = Life::begin(T1);
        assert_eq!(life.state(1), State::Draft);
        let (life, draft) = life.edit(Some(1), T2).unwrap();
        assert_eq!((draft, life.facts().newest, life.facts().version), (Draft::Existing, 1, 2));
        let life = life.publish(None, T2).unwrap();
        assert_eq!(life.publish(None, T2), Err(LifeError::NoDraft));
        let (life, draft) = life.edit(None, T2).unwrap();
        assert_eq!((draft, life.facts().newest, life.facts().published), (Draft::Opened, 2, Some(1)));
        assert_eq!((life.state(1), life.state(2)), (State::Published, State::Draft));
        let life = life.publish(None, T2).unwrap();
        assert_eq!(life.state(2), State::Published);
        assert_eq!(Life::restore(*life.facts()), Some(life));
    }

    #[test]
    fn an_archived_one_stays_archived() {
        let life = Life::begin(T1).publish(None, T1).unwrap().archive(None, T2).unwrap();
        assert_eq!(life.state(1), State::Archived);
        assert_eq!(life.edit(None, T2), Err(LifeError::Archived));
        assert_eq!(life.publish(None, T2), Err(LifeError::Archived));
        assert_eq!(life.archive(None, T2), Ok(life));
    }

    #[test]
    fn another_version_is_refused() {
        let life = Life::begin(T1);
        assert_eq!(life.edit(Some(2), T1), Err(LifeError::EtagMismatch));
        assert_eq!(life.publish(Some(0), T1), Err(LifeError::EtagMismatch));
        assert_eq!(life.archive(Some(9), T1), Err(LifeError::EtagMismatch));
    }

    #[test]
    fn impossible_facts_are_not_restored() {
        let facts = *Life::begin(T1).facts();
        for wrong in [
            Facts { newest: 0, ..facts },
            Facts { newest: 2, ..facts },
            Facts { newest: 3, published: Some(1), ..facts },
            Facts { newest: 1, published: Some(2), ..facts },
            Facts { version: 0, ..facts },
        ] {
            assert_eq!(Life::restore(wrong), None, "{wrong:?}");
        }
    }
}

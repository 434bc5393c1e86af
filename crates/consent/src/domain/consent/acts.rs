//! What else happens to a consent than that its subject decides: it is requested, the answer is put off, the controller
//! ends it, or it is found not to have been valid.
//!
//! Ending one asks for neither purpose nor notice, as withdrawing does.

use std::time::Duration;

use super::{Act, Consent, ConsentError, Ground, Offer, Outcome};
use crate::domain::status::{Change, Status};

impl Consent {
    /// The subject is asked. The request stands for `valid_for`, or until it is answered.
    pub(crate) fn request(
        self,
        offer: &Offer<'_>,
        valid_for: Option<Duration>,
        act: Act,
    ) -> Result<Outcome, ConsentError> {
        if self.status_at(act.now) == Status::Requested {
            return Ok(Outcome::Unchanged(self));
        }
        let expires_at = valid_for.map(|term| act.now.plus(term));
        Ok(self.step(Change::Request, offer.ground(expires_at), act)?)
    }

    /// The subject puts the answer off.
    pub(crate) fn defer(self, act: Act) -> Result<Outcome, ConsentError> {
        if self.0.status == Status::RequestDeferred {
            return Ok(Outcome::Unchanged(self));
        }
        self.end(Change::Defer, act)
    }

    /// The controller ends the consent.
    pub(crate) fn revoke(self, act: Act) -> Result<Outcome, ConsentError> {
        self.end(Change::Revoke, act)
    }

    /// The consent is found not to have been valid.
    pub(crate) fn invalidate(self, act: Act) -> Result<Outcome, ConsentError> {
        self.end(Change::Invalidate, act)
    }

    fn end(self, change: Change, act: Act) -> Result<Outcome, ConsentError> {
        let ground = Ground { basis: self.0.basis, language: None, expires_at: None };
        Ok(self.step(change, ground, act)?)
    }
}

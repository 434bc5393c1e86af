//! What is known of an account's e-mail address beside the address itself.

use portal_core::Timestamp;

use super::Email;

/// Whether somebody reads what is sent to an account, and where it is to be sent instead.
#[derive(Clone, Debug, Default)]
pub struct Contact {
    /// When the address of now was confirmed.
    pub verified_at: Option<Timestamp>,
    /// The address that takes its place when it is confirmed.
    pub pending: Option<Email>,
}

/// What somebody who confirms an address brings about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confirmed {
    /// It is the one of now.
    Current,
    /// It is the one to be.
    Pending,
    /// It is neither any more.
    Neither,
}

impl Contact {
    /// What it means that `email` is confirmed, of an account whose address is `current`.
    #[must_use]
    pub fn confirms(&self, current: &Email, email: &Email) -> Confirmed {
        if current.expose() == email.expose() {
            Confirmed::Current
        } else if self.pending.as_ref().is_some_and(|pending| pending.expose() == email.expose()) {
            Confirmed::Pending
        } else {
            Confirmed::Neither
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_that_was_given_up_confirms_nothing() {
        let [anna, anne, other] = ["anna@example.org", "anne@example.org", "other@example.org"]
            .map(|text| Email::parse(text).unwrap());
        let contact = Contact { verified_at: None, pending: Some(anne.clone()) };
        assert_eq!(contact.confirms(&anna, &anna), Confirmed::Current);
        assert_eq!(contact.confirms(&anna, &anne), Confirmed::Pending);
        assert_eq!(contact.confirms(&anna, &other), Confirmed::Neither);
        assert_eq!(Contact::default().confirms(&anna, &anne), Confirmed::Neither);
    }
}

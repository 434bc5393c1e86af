//! An e-mail address in the one spelling by which accounts are found.

use std::fmt;

use portal_core::Sensitive;

/// Longest address (RFC 5321, section 4.5.3.1, as erratum 1690 counts it).
const MAX_CHARS: usize = 254;
/// Longest part before the `@`.
const MAX_LOCAL_CHARS: usize = 64;

/// A normalised e-mail address: no white space around it, lower case. `Debug` does not show it.
#[derive(Clone)]
pub struct Email(Sensitive<String>);

/// The text has not the shape of an e-mail address. Says nothing about the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an e-mail address such as anna@example.org, at most 254 characters")]
pub struct InvalidEmail;

impl Email {
    /// Normalises `text` and checks its shape. Whether anybody reads mail there, only mail can tell.
    ///
    /// # Errors
    /// [`InvalidEmail`] without exactly one `@` between two parts, or with white space or control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let email = text.trim().to_lowercase();
        let (local, domain) = email.split_once('@').ok_or(InvalidEmail)?;
        let spaced = email.chars().any(|c| c.is_whitespace() || c.is_control());
        let local_fits = (1..=MAX_LOCAL_CHARS).contains(&local.chars().count());
        let labels_fit = domain.split('.').all(|label| !label.is_empty() && is_label(label));
        if spaced || !local_fits || !labels_fit || email.chars().count() > MAX_CHARS {
            return Err(InvalidEmail);
        }
        Ok(Self(Sensitive::new(email)))
    }

    /// The address.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

fn is_label(label: &str) -> bool {
    label.chars().all(|c| c.is_alphanumeric() || c == '-') && !label.starts_with('-') && !label.ends_with('-')
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[e-mail]")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_spelling() {
        for text in ["anna@example.org", " Anna@Example.ORG\n", "ANNA@EXAMPLE.ORG"] {
            assert_eq!(Email::parse(text).unwrap().expose(), "anna@example.org");
        }
        for text in ["o'brien+x@sub.example.org", "operator@localhost", "jörg@müller.example"] {
            assert_eq!(Email::parse(text).unwrap().expose(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        let long = format!("{}@example.org", "a".repeat(65));
        let longer = format!("a@{}.org", "a".repeat(254));
        for text in [
            "",
            "@",
            "anna",
            "@example.org",
            "anna@",
            "a@b@c",
            "an na@example.org",
            "anna@example..org",
            "anna@.org",
            "anna@-x.org",
            "a\0@example.org",
            &long,
            &longer,
        ] {
            assert_eq!(Email::parse(text).err(), Some(InvalidEmail), "{text:?}");
        }
    }

    #[test]
    fn debug_does_not_show_it() {
        assert!(!format!("{:?}", Email::parse("anna@example.org").unwrap()).contains("anna"));
    }
}

//! What is wrong with a request, field by field, all of it at once.

use std::fmt;

/// One field and what is wrong with it. Descriptions say what is expected and never repeat the value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Path of the field in the request, for example `purpose.display_name`.
    pub field: String,
    /// What the field must be.
    pub description: String,
}

/// A request that can't be taken, with every [`Violation`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Invalid(Vec<Violation>);

impl Invalid {
    /// No violation so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A single violation.
    #[must_use]
    pub fn field(field: &str, description: impl fmt::Display) -> Self {
        let mut invalid = Self::new();
        invalid.add(field, description);
        invalid
    }

    /// Adds a violation.
    pub fn add(&mut self, field: &str, description: impl fmt::Display) {
        self.0.push(Violation { field: field.to_owned(), description: description.to_string() });
    }

    /// Keeps the value, or notes its error under `field`.
    pub fn check<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    /// The text if it has `min..=max` characters and no control characters other than line breaks and tabs.
    pub fn text(&mut self, field: &str, value: String, min: usize, max: usize) -> Option<String> {
        let length = value.chars().count();
        if length < min || length > max {
            self.add(field, format_args!("must have {min} to {max} characters"));
            return None;
        }
        if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.add(field, "must not have control characters");
            return None;
        }
        Some(value)
    }

    /// `Ok(value)` if nothing was noted and there is a value, else everything noted.
    ///
    /// # Errors
    /// `self`, when there is a violation. A missing value without a violation can't be told apart from a
    /// programming error and is reported as one on the request as a whole.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => {
                if self.0.is_empty() {
                    self.add("", "the request could not be read");
                }
                Err(self)
            }
        }
    }

    /// The violations, in the order found.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.0
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            match violation.field.as_str() {
                "" => write!(f, "{separator}{}", violation.description)?,
                field => write!(f, "{separator}{field}: {}", violation.description)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_violations_are_told_at_once() {
        let mut invalid = Invalid::new();
        let name = invalid.text("name", String::new(), 1, 5);
        let age = invalid.check("age", "x".parse::<u8>());
        let error = invalid.finish(name.zip(age)).unwrap_err();
        let fields: Vec<_> = error.violations().iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["name", "age"]);
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert!(Invalid::new().text("f", "ééééé".to_owned(), 1, 5).is_some());
        assert!(Invalid::new().text("f", "a\u{0}".to_owned(), 1, 5).is_none());
    }
}

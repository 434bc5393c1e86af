//! Language tags (BCP 47), in the letter case that RFC 5646 recommends, so that `DE-at` finds `de-AT`.

use std::fmt;

/// A well-formed language tag.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Language(String);

/// The text is not a language tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a BCP 47 language tag such as en or de-AT, at most 35 characters")]
pub(crate) struct InvalidLanguage;

impl Language {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidLanguage> {
        let well_formed =
            |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
        let primary = text.split('-').next().unwrap_or_default();
        let primary_is_language =
            (2..=8).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
        if text.len() > 35 || !primary_is_language || !text.split('-').all(well_formed) {
            return Err(InvalidLanguage);
        }
        let mut tag = String::with_capacity(text.len());
        let mut after_singleton = false;
        for (index, part) in text.split('-').enumerate() {
            if index > 0 {
                tag.push('-');
            }
            let lower = part.to_ascii_lowercase();
            match part.len() {
                2 if index > 0 && !after_singleton => tag.push_str(&lower.to_ascii_uppercase()),
                4 if index > 0 && !after_singleton => {
                    let (first, rest) = lower.split_at(1);
                    tag.push_str(&first.to_ascii_uppercase());
                    tag.push_str(rest);
                }
                _ => tag.push_str(&lower),
            }
            after_singleton |= part.len() == 1;
        }
        Ok(Self(tag))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_get_the_recommended_case() {
        for (text, tag) in
            [("EN", "en"), ("de-at", "de-AT"), ("ZH-HANT-tw", "zh-Hant-TW"), ("en-x-AB", "en-x-ab")]
        {
            assert_eq!(Language::parse(text), Ok(Language(tag.to_owned())), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "e",
            "12",
            "en-",
            "-en",
            "en--US",
            "en_US",
            "englishhh",
            "é",
            "en-abcdefghi",
            &"en-a".repeat(12),
        ] {
            assert_eq!(Language::parse(text), Err(InvalidLanguage), "{text}");
        }
    }
}

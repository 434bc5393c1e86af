//! Terms of the Data Privacy Vocabulary (DPV 2.3), checked against its lists in `data/`. Terms keep the form in which they
//! were given: a prefixed name, or the whole IRI.
//!
//! There is no list of personal data: of those terms the form alone is checked.

const DPV: Space = Space { prefix: "dpv:", iri: "https://w3id.org/dpv#" };
const GDPR: Space = Space { prefix: "eu-gdpr:", iri: "https://w3id.org/dpv/legal/eu/gdpr#" };

const GDPR_RIGHTS: &str = include_str!("../../data/gdpr_rights.tsv");
const LEGAL_BASES: &str = include_str!("../../data/legal_bases.tsv");
const PROCESSING: &str = include_str!("../../data/processing.tsv");
const PURPOSES: &str = include_str!("../../data/purposes.tsv");
const RIGHTS: &str = include_str!("../../data/rights.tsv");
const SUBJECT_CATEGORIES: &str = include_str!("../../data/subject_categories.tsv");

/// No term is above another by more steps: the lists are small, and a cycle in them must not go on for ever.
const MOST_STEPS: usize = 16;

/// A list of terms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum List {
    LegalBases,
    Processing,
    Purposes,
    Rights,
    SubjectCategories,
}

/// A namespace: its prefix and its IRI.
struct Space {
    prefix: &'static str,
    iri: &'static str,
}

impl Space {
    fn local<'a>(&self, term: &'a str) -> Option<&'a str> {
        term.strip_prefix(self.prefix).or_else(|| term.strip_prefix(self.iri))
    }
}

impl List {
    /// Whether `term` is in the list.
    pub(crate) fn has(self, term: &str) -> bool {
        let of_dpv = DPV.local(term).is_some_and(|name| above(self.lines(), name).is_some());
        let of_gdpr = || GDPR.local(term).is_some_and(|name| above(GDPR_RIGHTS, name).is_some());
        of_dpv || (self == Self::Rights && of_gdpr())
    }

    /// Whether `term` is the one that DPV names `ancestor`, or below it.
    pub(crate) fn is_under(self, term: &str, ancestor: &str) -> bool {
        let Some(name) = DPV.local(term) else { return false };
        self.reaches(name, ancestor, MOST_STEPS)
    }

    fn reaches(self, name: &str, ancestor: &str, steps: usize) -> bool {
        let Some(parents) = above(self.lines(), name) else { return false };
        name == ancestor
            || (steps > 0 && parents.split(' ').any(|parent| self.reaches(parent, ancestor, steps - 1)))
    }

    const fn lines(self) -> &'static str {
        match self {
            Self::LegalBases => LEGAL_BASES,
            Self::Processing => PROCESSING,
            Self::Purposes => PURPOSES,
            Self::Rights => RIGHTS,
            Self::SubjectCategories => SUBJECT_CATEGORIES,
        }
    }
}

/// The terms above `name` in a list; `None` if it is not in it.
fn above(lines: &'static str, name: &str) -> Option<&'static str> {
    lines.lines().filter_map(|line| line.split_once('\t')).find(|(term, _)| *term == name).map(|(_, up)| up)
}

/// Whether `text` has the form of a term: a prefixed name such as `pd:EmailAddress`, or an IRI of the web.
pub(crate) fn is_term(text: &str) -> bool {
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    if let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
        return !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic());
    }
    text.split_once(':').is_some_and(|(prefix, name)| is_name(prefix) && is_name(name))
}

/// Whether `text` is a country of ISO 3166-1 (alpha-2) or a subdivision of ISO 3166-2, by its form.
pub(crate) fn is_jurisdiction(text: &str) -> bool {
    let (country, subdivision) = text.split_once('-').map_or((text, None), |(c, s)| (c, Some(s)));
    let country_fits = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
    country_fits
        && subdivision.is_none_or(|part| {
            (1..=3).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
}

/// Whether `text` has the form of a place: a country or subdivision, or a term such as `loc:EU`.
pub(crate) fn is_place(text: &str) -> bool {
    is_jurisdiction(text) || is_term(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [List; 5] =
        [List::LegalBases, List::Processing, List::Purposes, List::Rights, List::SubjectCategories];

    #[test]
    fn the_lists_are_those_of_dpv_2_3() {
        let lengths = ALL.map(|list| list.lines().lines().count());
        assert_eq!(lengths, [21, 56, 122, 4, 32]);
        for lines in ALL.map(List::lines).into_iter().chain([GDPR_RIGHTS]) {
            assert!(
                lines.lines().all(|line| line.split_once('\t').is_some_and(|(term, _)| !term.is_empty()))
            );
        }
    }

    #[test]
    fn terms_are_found_by_name_and_iri_and_nothing_else_is() {
        for (list, term) in [
            (List::Purposes, "dpv:DirectMarketing"),
            (List::Purposes, "https://w3id.org/dpv#DirectMarketing"),
            (List::Processing, "dpv:Collect"),
            (List::LegalBases, "dpv:LegitimateInterestOfController"),
            (List::SubjectCategories, "dpv:Customer"),
            (List::Rights, "eu-gdpr:A17"),
            (List::Rights, "https://w3id.org/dpv/legal/eu/gdpr#A7-3"),
        ] {
            assert!(list.has(term), "{term}");
            assert_eq!(ALL.into_iter().filter(|list| list.has(term)).count(), 1, "{term}");
        }
        for term in [
            "",
            "dpv:",
            "DirectMarketing",
            "dpv:directmarketing",
            "dpv:hasPurpose",
            "dpv:Sector",
            "x:Marketing",
        ] {
            assert!(!ALL.into_iter().any(|list| list.has(term)), "{term}");
        }
    }

    #[test]
    fn a_term_is_under_itself_and_all_above_it() {
        for (term, ancestor, expect) in [
            ("dpv:Consent", "Consent", true),
            ("dpv:ExplicitlyExpressedConsent", "Consent", true),
            ("dpv:EnterIntoContract", "Contract", true),
            ("dpv:Contract", "EnterIntoContract", false),
            ("dpv:VitalInterestOfDataSubject", "VitalInterest", true),
            ("dpv:LegalObligation", "Consent", false),
            ("dpv:Nothing", "Consent", false),
        ] {
            assert_eq!(List::LegalBases.is_under(term, ancestor), expect, "{term} {ancestor}");
        }
    }

    #[test]
    fn forms() {
        for good in ["pd:EmailAddress", "dpv-pd:Name", "https://example.com/data#x", "loc:EU"] {
            assert!(is_term(good), "{good}");
        }
        for bad in ["", "EmailAddress", "pd:", ":Name", "pd:E mail", "https://", "https://a b", "pd:a:b"] {
            assert!(!is_term(bad), "{bad}");
        }
        assert!(["DE", "US-CA", "GB-ENG"].into_iter().all(is_jurisdiction));
        assert!(!["", "de", "DEU", "DE-", "DE-abcd", "Germany"].into_iter().any(is_jurisdiction));
    }
}

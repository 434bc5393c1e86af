//! Subjects: what is known of people beside their decisions, and who of them needs a guardian to consent.
//!
//! Whoever nothing is known of is taken for old enough. Of whom something is known, doubt is for the child: a child of
//! unknown age needs a guardian everywhere; of several jurisdictions the highest age counts, and 18 in one that the
//! table does not have.

use portal_core::id::SubjectId;
use portal_core::{Sensitive, Timestamp};

/// Country, age, law: from which age somebody decides alone (GDPR Art. 8 and the like).
const AGES: &str = include_str!("../../data/digital_consent_ages.tsv");
/// GDPR Art. 8(1), where no jurisdiction is known.
const DEFAULT_AGE: u8 = 16;
/// Where a jurisdiction is not in the table.
const OF_AGE: u8 = 18;

/// A person for whom consents are kept.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) id: SubjectId,
    pub(crate) details: Details,
    pub(crate) created_at: Timestamp,
}

/// What is known of a person. All of it is personal.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    /// The controller's own reference.
    pub(crate) reference: Sensitive<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) age: Option<AgeBand>,
    pub(crate) jurisdictions: Vec<String>,
}

/// Age as far as the law asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AgeBand {
    Adult,
    /// Of unknown age.
    Child,
    Fifteen,
    Fourteen,
    SixteenToSeventeen,
    Thirteen,
    UnderThirteen,
}

/// Whether somebody can decide alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Capacity {
    Full,
    NeedsGuardian,
}

impl Details {
    /// Whether the person can decide alone.
    pub(crate) fn capacity(&self) -> Capacity {
        let Some(age) = self.age else { return Capacity::Full };
        let needed = self.jurisdictions.iter().map(|place| age_in(place)).max().unwrap_or(DEFAULT_AGE);
        if age.at_least() >= needed { Capacity::Full } else { Capacity::NeedsGuardian }
    }
}

/// From which age somebody decides alone in `jurisdiction`.
fn age_in(jurisdiction: &str) -> u8 {
    let country = jurisdiction.split('-').next().unwrap_or_default();
    let found = AGES.lines().find_map(|line| {
        let mut parts = line.split('\t');
        let found = parts.next().is_some_and(|place| place == country);
        parts.next().filter(|_| found)?.parse().ok()
    });
    found.unwrap_or(OF_AGE)
}

impl AgeBand {
    const ALL: [Self; 7] = [
        Self::Adult,
        Self::Child,
        Self::Fifteen,
        Self::Fourteen,
        Self::SixteenToSeventeen,
        Self::Thirteen,
        Self::UnderThirteen,
    ];

    const fn at_least(self) -> u8 {
        match self {
            Self::Adult => OF_AGE,
            Self::Child | Self::UnderThirteen => 0,
            Self::Fifteen => 15,
            Self::Fourteen => 14,
            Self::SixteenToSeventeen => 16,
            Self::Thirteen => 13,
        }
    }

    /// The name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Adult => "adult",
            Self::Child => "child",
            Self::Fifteen => "15",
            Self::Fourteen => "14",
            Self::SixteenToSeventeen => "16_to_17",
            Self::Thirteen => "13",
            Self::UnderThirteen => "under_13",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|age| age.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(age: Option<AgeBand>, jurisdictions: &[&str], expect: Capacity) {
        let details = Details {
            reference: Sensitive::new(String::new()),
            categories: Vec::new(),
            age,
            jurisdictions: jurisdictions.iter().map(|&place| place.to_owned()).collect(),
        };
        assert_eq!(details.capacity(), expect, "{age:?} {jurisdictions:?}");
    }

    #[test]
    fn the_age_of_the_jurisdiction_decides() {
        use AgeBand::{Adult, Child, Fifteen, Fourteen, SixteenToSeventeen, Thirteen, UnderThirteen};
        use Capacity::{Full, NeedsGuardian};
        check(None, &["DE"], Full);
        check(Some(Adult), &["XX"], Full);
        check(Some(Child), &["BE"], NeedsGuardian);
        check(Some(UnderThirteen), &["BE"], NeedsGuardian);
        check(Some(Thirteen), &["BE"], Full);
        check(Some(Thirteen), &["AT"], NeedsGuardian);
        check(Some(Fourteen), &["AT-9"], Full);
        check(Some(Fourteen), &["FR"], NeedsGuardian);
        check(Some(Fifteen), &["FR"], Full);
        check(Some(Fifteen), &["FR", "DE"], NeedsGuardian);
        check(Some(SixteenToSeventeen), &["FR", "DE"], Full);
        check(Some(SixteenToSeventeen), &["XX"], NeedsGuardian);
        check(Some(Fifteen), &[], NeedsGuardian);
        check(Some(SixteenToSeventeen), &[], Full);
    }

    #[test]
    fn the_table_has_every_state_of_the_eea_once_within_the_bounds_of_the_regulation() {
        let eea = "AT BE BG HR CY CZ DE DK EE ES FI FR GR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK";
        for country in eea.split(' ') {
            assert_eq!(AGES.lines().filter(|line| line.starts_with(country)).count(), 1, "{country}");
            assert!((13..=16).contains(&age_in(country)), "{country}");
        }
        assert!(AGES.lines().all(|line| line.split('\t').filter(|part| !part.is_empty()).count() == 3));
    }
}

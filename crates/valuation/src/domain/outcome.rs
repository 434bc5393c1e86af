//! What the engine's numbers mean for records and people: order, rank, percentile, sums per subject.

use std::cmp::Ordering;
use std::collections::HashMap;

use portal_core::id::SubjectId;

use super::valuation::{Extremes, Summary};
use crate::engine::Values;

/// A record that was valued.
pub struct Member {
    /// The controller's id of it.
    pub record_id: String,
    /// Whom it is about.
    pub subject: SubjectId,
}

/// A value and where it stands among the others. Standard errors are `None` where one validation record says nothing
/// about spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// The value.
    pub value: f64,
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// 1 is the highest; equal values share the smallest.
    pub rank: i64,
    /// Share of all with a lower value, 0 to 100.
    pub percentile: f64,
}

/// The value of one record.
pub struct RecordValue {
    /// The record.
    pub member: Member,
    /// Its value.
    pub standing: Standing,
}

/// The value of all records of one person.
pub struct SubjectValue {
    /// The person.
    pub subject: SubjectId,
    /// Sum of the records' values. Its standard error is the sum of theirs: exact for one record, and an upper bound
    /// for more, whatever their correlation.
    pub standing: Standing,
    /// How many records.
    pub records: i64,
}

/// All values, highest first; equal ones in the order of the dataset.
pub struct Outcome {
    /// By record.
    pub records: Vec<RecordValue>,
    /// By person.
    pub subjects: Vec<SubjectValue>,
    /// In figures.
    pub summary: Summary,
}

impl Outcome {
    /// Puts `values` in order; `members` are in the engine's order. `empty_utility` is the model's without any record.
    pub fn new(members: Vec<Member>, values: &Values, empty_utility: f64) -> Self {
        let errors = values.standard_errors();
        let scores: Vec<Score> = values
            .values()
            .iter()
            .enumerate()
            .map(|(index, &value)| Score {
                value,
                error: errors.and_then(|errors| errors.get(index).copied()),
            })
            .collect();
        let subjects = sum_by_subject(&members, &scores);
        let records: Vec<_> = rank(members.into_iter().zip(scores).collect())
            .into_iter()
            .map(|(member, standing)| RecordValue { member, standing })
            .collect();
        let subjects: Vec<_> = rank(subjects)
            .into_iter()
            .map(|((subject, records), standing)| SubjectValue { subject, standing, records })
            .collect();
        let summary = Summary {
            records: count(records.len()),
            subjects: count(subjects.len()),
            value_sum: values.values().iter().sum(),
            full_utility: empty_utility + values.gain(),
            empty_utility,
            extremes: records
                .first()
                .zip(records.last())
                .map(|(first, last)| Extremes { min: last.standing.value, max: first.standing.value }),
        };
        Self { records, subjects, summary }
    }
}

#[derive(Clone, Copy)]
struct Score {
    value: f64,
    error: Option<f64>,
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Each subject with its number of records, in the order of first appearance.
fn sum_by_subject(members: &[Member], scores: &[Score]) -> Vec<((SubjectId, i64), Score)> {
    let mut places: HashMap<SubjectId, usize> = HashMap::new();
    let mut sums: Vec<((SubjectId, i64), Score)> = Vec::new();
    for (member, score) in members.iter().zip(scores) {
        let place = *places.entry(member.subject).or_insert(sums.len());
        match sums.get_mut(place) {
            Some(((_, records), sum)) => {
                *records += 1;
                sum.value += score.value;
                sum.error = sum.error.zip(score.error).map(|(a, b)| a + b);
            }
            None => sums.push(((member.subject, 1), *score)),
        }
    }
    sums
}

/// Sorts by value, highest first and stable, and gives each its standing.
fn rank<T>(mut items: Vec<(T, Score)>) -> Vec<(T, Standing)> {
    items.sort_by(|(_, a), (_, b)| b.value.partial_cmp(&a.value).unwrap_or(Ordering::Equal));
    let total = items.len();
    let mut ranked: Vec<(T, Standing)> = Vec::with_capacity(total);
    let mut group = 0;
    let mut ends = group_ends(&items).into_iter();
    let mut end = ends.next().unwrap_or(0);
    for (index, (item, score)) in items.into_iter().enumerate() {
        if index == end {
            (group, end) = (index, ends.next().unwrap_or(total));
        }
        let standing = Standing {
            value: score.value,
            standard_error: score.error,
            rank: count(group).saturating_add(1),
            percentile: 100.0 * (total - end) as f64 / total as f64,
        };
        ranked.push((item, standing));
    }
    ranked
}

/// Where each run of equal values ends.
fn group_ends<T>(items: &[(T, Score)]) -> Vec<usize> {
    let starts = items.windows(2).enumerate();
    let mut ends: Vec<usize> = starts
        .filter(|(_, pair)| !matches!(pair, [(_, a), (_, b)] if a.value == b.value))
        .map(|(index, _)| index + 1)
        .collect();
    ends.push(items.len());
    ends
}

#[cfg(test)]
mod tests {
    use portal_core::id::Id;
    use portal_core::{SeededEntropy, Timestamp};

    use super::*;

    fn ranked(values: &[f64]) -> Vec<(usize, i64, f64)> {
        let items = values.iter().map(|&value| Score { value, error: None }).enumerate().collect();
        rank(items).into_iter().map(|(item, s)| (item, s.rank, s.percentile)).collect()
    }

    #[test]
    fn equal_values_share_the_smallest_rank() {
        let expected = [(1, 1, 60.0), (3, 1, 60.0), (4, 3, 40.0), (0, 4, 0.0), (2, 4, 0.0)];
        assert_eq!(ranked(&[-1.0, 2.0, -1.0, 2.0, 0.0]), expected);
        assert_eq!(ranked(&[5.0]), [(0, 1, 0.0)]);
        assert_eq!(ranked(&[]), []);
        assert_eq!(ranked(&[1.0, 2.0]), [(1, 1, 50.0), (0, 2, 0.0)]);
    }

    #[test]
    fn a_subject_gets_the_sum_of_its_records() {
        let entropy = SeededEntropy::new(1);
        let subject = |_| SubjectId::generate(Timestamp::default(), &entropy);
        let people: Vec<_> = (0..2).map(subject).collect();
        let member = |person: usize| Member { record_id: String::new(), subject: people[person] };
        let score = |value, error| Score { value, error: Some(error) };
        let sums = sum_by_subject(
            &[member(0), member(1), member(0)],
            &[score(1.0, 0.5), score(2.0, 0.25), score(4.0, 0.125)],
        );
        let found: Vec<_> = sums.iter().map(|((s, n), sum)| (*s, *n, sum.value, sum.error)).collect();
        assert_eq!(found, [(people[0], 2, 5.0, Some(0.625)), (people[1], 1, 2.0, Some(0.25))]);
    }
}

//! Decisions: may this person's data be used for this purpose?
//!
//! From the snapshot of the process, while it is exact; from the database what the snapshot does not know: the past, what
//! rests on a corrupt row, and everything while it is loaded or was cut off from its database.

use std::collections::BTreeSet;
use std::sync::Arc;

use portal_core::Timestamp;
use portal_core::id::Id;
use portal_ledger::feed;
use portal_mesh::Permit;
use portal_mesh::policy::Action;
use portal_store::ReadTx;

use super::App;
use super::consents::{Links, Listed};
use crate::domain::decision::{Question, Reason, decide};
use crate::domain::snapshot::Answered;
use crate::error::Error;
use crate::metrics::AnswerSource;
use crate::service::policy::ExplainDecision;
use crate::store::decisions::{self, Found, Read};
use crate::store::leaves::EVENT;

/// An answer, and the events that led to it, oldest first.
pub(crate) struct Explained {
    pub(crate) answered: Answered,
    pub(crate) events: Vec<Listed>,
}

impl App {
    /// Answers all questions, in their order. `now` is when they were asked. A question that a corrupt row bears on has
    /// that for an answer.
    pub(crate) async fn check<A: Action>(
        &self,
        _: &Permit<A>,
        questions: Vec<Question>,
        now: Timestamp,
    ) -> Result<Vec<Read<Answered>>, Error> {
        let fresh = self.live.is_fresh();
        let known = |question| if fresh { self.live.answer(question, now) } else { None };
        let known: Vec<Option<Answered>> = questions.iter().map(known).collect();
        let asked = questions.into_iter().zip(&known).filter(|(_, known)| known.is_none());
        let asked: Vec<Question> = asked.map(|(question, _)| question).collect();
        self.metrics.answers(AnswerSource::Snapshot, known.len() - asked.len());
        self.metrics.answers(AnswerSource::Database, asked.len());
        let mut from_database = self.ask_database(&asked, now).await?.into_iter();
        let answers: Vec<_> =
            known.into_iter().filter_map(|known| known.map(Ok).or_else(|| from_database.next())).collect();
        for answer in &answers {
            match answer {
                Ok(answered) => self.metrics.decision(answered.answer.reason),
                Err(error) => {
                    tracing::error!(%error, "a check rests on a corrupt row");
                    self.metrics.decision(Reason::RecordCorrupt);
                }
            }
        }
        Ok(answers)
    }

    /// Answers all questions on one state of the data, in their order.
    async fn ask_database(
        &self,
        questions: &[Question],
        now: Timestamp,
    ) -> Result<Vec<Read<Answered>>, Error> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let decide = |tx| async move { self.decide(&tx, questions, now).await };
        self.database.read("check_consents", decide).await
    }

    async fn decide(
        &self,
        tx: &ReadTx,
        questions: &[Question],
        now: Timestamp,
    ) -> Result<Vec<Read<Answered>>, Error> {
        let reading = self.seals.reading(tx).await?;
        let purposes: BTreeSet<_> = questions.iter().map(|question| question.purpose).collect();
        let purposes = decisions::purposes(&reading, &purposes).await?;
        let found = decisions::standings(&reading, questions, now).await?;
        let events: Vec<_> = found.iter().flatten().filter_map(|found| found.event).collect();
        let ids = decisions::event_ids(&reading, &events).await?;
        let references: Vec<_> = ids.values().copied().collect();
        let positions = feed::positions(tx, EVENT, &references).await?;
        let answers = questions.iter().zip(found).map(|(question, found)| {
            let purpose = purposes.get(&question.purpose).map(Result::as_ref).transpose();
            let Found { standing, event } = found?;
            let answer = decide(question, purpose.map_err(Arc::clone)?, standing);
            let position = event.and_then(|event| positions.get(ids.get(&event)?).copied());
            Ok(Answered { answer, position })
        });
        Ok(answers.collect())
    }

    /// Answers a question from the database, and tells which events led to the answer, without the words of the subject.
    pub(crate) async fn explain(
        &self,
        _: &Permit<ExplainDecision>,
        question: Question,
        now: Timestamp,
    ) -> Result<Explained, Error> {
        let question = &question;
        self.database
            .read("explain_decision", |tx| async move {
                let questions = std::slice::from_ref(question);
                let mut answers = self.decide(&tx, questions, now).await?.into_iter();
                let Some(answered) = answers.next().transpose().map_err(Error::Unreadable)? else {
                    return Err(Error::ConsentNotFound);
                };
                let reading = self.seals.reading(&tx).await?;
                let events = match answered.answer.consent {
                    Some(consent) => decisions::history(&reading, consent, question.at).await?,
                    None => Vec::new(),
                };
                let ids: Vec<_> = events.iter().map(|event| event.id.uuid()).collect();
                let links = Links::of(&tx, &reading, &ids).await?;
                Ok(Explained {
                    answered,
                    events: events.into_iter().map(|event| links.with(event)).collect(),
                })
            })
            .await
    }
}

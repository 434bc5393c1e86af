//! Decisions: may this person's data be used for this purpose?

use std::collections::BTreeSet;
use std::sync::Arc;

use portal_core::Timestamp;
use portal_mesh::Permit;
use portal_mesh::policy::Action;

use super::App;
use crate::domain::decision::{Answer, Question, Reason, decide};
use crate::error::Error;
use crate::store::decisions::{self, Read};

impl App {
    /// Answers all questions on one state of the data, in their order. `now` is when they were asked. A question that a
    /// corrupt row bears on has that for an answer.
    pub(crate) async fn check<A: Action>(
        &self,
        _: &Permit<A>,
        questions: Vec<Question>,
        now: Timestamp,
    ) -> Result<Vec<Read<Answer>>, Error> {
        let questions = &questions;
        let answers: Vec<Read<Answer>> = self
            .database
            .read("check_consents", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                let purposes: BTreeSet<_> = questions.iter().map(|question| question.purpose).collect();
                let purposes = decisions::purposes(&tx, &purposes).await?;
                let standings = decisions::standings(&tx, questions, now).await?;
                let answers = questions.iter().zip(standings);
                let answers = answers.map(|(question, standing)| {
                    let purpose = purposes.get(&question.purpose).map(Result::as_ref).transpose();
                    Ok(decide(question, purpose.map_err(Arc::clone)?, standing?))
                });
                Ok::<_, Error>(answers.collect())
            })
            .await?;
        for answer in &answers {
            match answer {
                Ok(answer) => self.metrics.decision(answer.reason),
                Err(error) => {
                    tracing::error!(%error, "a check rests on a corrupt row");
                    self.metrics.decision(Reason::RecordCorrupt);
                }
            }
        }
        Ok(answers)
    }
}

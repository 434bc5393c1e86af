//! Decisions: may this person's data be used for this purpose?

use std::collections::BTreeSet;

use portal_core::Timestamp;
use portal_mesh::Permit;
use portal_mesh::policy::Action;

use super::App;
use crate::domain::decision::{Answer, Question, decide};
use crate::error::Error;
use crate::store::decisions;

impl App {
    /// Answers all questions on one state of the data, in their order. `now` is when they were asked.
    pub(crate) async fn check<A: Action>(
        &self,
        _: &Permit<A>,
        questions: Vec<Question>,
        now: Timestamp,
    ) -> Result<Vec<Answer>, Error> {
        let questions = &questions;
        let answers: Vec<Answer> = self
            .database
            .read("check_consents", |tx| async move {
                let purposes: BTreeSet<_> = questions.iter().map(|question| question.purpose).collect();
                let purposes = decisions::purposes(&tx, &purposes).await?;
                let standings = decisions::standings(&tx, questions, now).await?;
                let answers = questions.iter().zip(standings);
                let answers =
                    answers.map(|(q, standing)| decide(q, purposes.get(&q.purpose), standing)).collect();
                Ok::<_, Error>(answers)
            })
            .await?;
        answers.iter().for_each(|answer| self.metrics.decision(answer.reason));
        Ok(answers)
    }
}

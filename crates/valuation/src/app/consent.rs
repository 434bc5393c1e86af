//! The port to consent: whom a purpose is permitted for. Whatever is not a clear yes is a no.

use std::collections::HashSet;

use portal_core::id::{PurposeId, SubjectId};
use portal_mesh::MeshChannel;
use portal_proto::consent::v1::decision_service_client::DecisionServiceClient;
use portal_proto::consent::v1::{BatchCheckConsentsRequest, CheckConsentRequest, Decision};

/// Questions of one call, as consent's contract bounds them.
const QUESTIONS: usize = 1_000;

/// Consent gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ConsentUnavailable {
    /// It did not answer.
    #[error("consent did not answer")]
    NoAnswer(#[source] tonic::Status),
    /// It did not answer every question.
    #[error("consent gave {answers} answers to {questions} questions")]
    Unanswered {
        /// Questions asked.
        questions: usize,
        /// Answers given.
        answers: usize,
    },
}

/// Asks consent on the service's own behalf.
#[derive(Clone)]
pub struct Consent(MeshChannel);

impl Consent {
    /// Asks through `channel`.
    pub fn new(channel: &MeshChannel) -> Self {
        Self(channel.as_workload())
    }

    /// Those of `subjects`, which are distinct, who permit `purpose` at this moment.
    pub async fn permitted(
        &self,
        purpose: PurposeId,
        subjects: &[SubjectId],
    ) -> Result<HashSet<SubjectId>, ConsentUnavailable> {
        let mut client = DecisionServiceClient::new(self.0.clone());
        let mut permitted = HashSet::with_capacity(subjects.len());
        for subjects in subjects.chunks(QUESTIONS) {
            let question = |subject: &SubjectId| CheckConsentRequest {
                subject_id: subject.to_string(),
                purpose_id: purpose.to_string(),
                ..CheckConsentRequest::default()
            };
            let request = BatchCheckConsentsRequest { requests: subjects.iter().map(question).collect() };
            let reply = client.batch_check_consents(request).await.map_err(ConsentUnavailable::NoAnswer)?;
            let answers = reply.into_inner().responses;
            if answers.len() != subjects.len() {
                let (questions, answers) = (subjects.len(), answers.len());
                return Err(ConsentUnavailable::Unanswered { questions, answers });
            }
            let yes =
                subjects.iter().zip(answers).filter(|(_, answer)| answer.decision() == Decision::Permit);
            permitted.extend(yes.map(|(subject, _)| *subject));
        }
        Ok(permitted)
    }
}

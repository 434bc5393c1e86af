//! `DecisionService`.

use portal_mesh::Caller;
use portal_mesh::status::reason;
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::decision_service_server::DecisionService;
use tonic::{Request, Response, Status};

use super::convert::decisions as convert;
use super::policy::{BatchCheckConsents, CheckConsent, ExplainDecision};
use super::{Edge, refused};
use crate::domain::decision::Answer;
use crate::domain::snapshot::Answered;
use crate::error::Error;

#[tonic::async_trait]
impl DecisionService for Edge {
    async fn check_consent(
        &self,
        request: Request<pb::CheckConsentRequest>,
    ) -> Result<Response<pb::CheckConsentResponse>, Status> {
        let caller = Caller::of(&request)?;
        let now = self.app.clock.now();
        let question = convert::question(request.into_inner(), now).map_err(refused)?;
        let permit = caller.permit_for::<CheckConsent>(question.subject)?;
        let answers = self.app.check(&permit, vec![question], now).await?;
        let answer = answers.into_iter().next().ok_or_else(|| reason::INTERNAL.status())?;
        Ok(Response::new(convert::message(&answer.map_err(Error::Unreadable)?)))
    }

    async fn batch_check_consents(
        &self,
        request: Request<pb::BatchCheckConsentsRequest>,
    ) -> Result<Response<pb::BatchCheckConsentsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<BatchCheckConsents>()?;
        let now = self.app.clock.now();
        let questions = convert::questions(request.into_inner(), now).map_err(refused)?;
        questions.iter().try_for_each(|question| permit.covers(question.subject))?;
        let answers = self.app.check(&permit, questions, now).await?;
        // An error would deny all of them; one corrupt record denies what rests on it.
        let corrupt = || Answered { answer: Answer::corrupt(), position: None };
        let answers = answers.into_iter().map(|answer| answer.unwrap_or_else(|_| corrupt()));
        Ok(Response::new(pb::BatchCheckConsentsResponse {
            responses: answers.map(|answer| convert::message(&answer)).collect(),
        }))
    }

    async fn explain_decision(
        &self,
        request: Request<pb::ExplainDecisionRequest>,
    ) -> Result<Response<pb::ExplainDecisionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let now = self.app.clock.now();
        let question = convert::explained(request.into_inner(), now).map_err(refused)?;
        let permit = caller.permit_for::<ExplainDecision>(question.subject)?;
        let explained = self.app.explain(&permit, question, now).await?;
        Ok(Response::new(convert::explanation(explained)))
    }
}

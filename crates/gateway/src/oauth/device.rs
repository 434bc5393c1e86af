//! Where a person connects a device that has no browser (RFC 8628, section 3.3): they type the code that it shows, and decide.
//!
//! Who types codes has signed in before, so that guessing counts against somebody. An address may bring the code along; then it is
//! shown, to be compared, and nothing happens before the person sent the form.

use http::{Response, StatusCode};
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::decide_authorization_request::Decision;
use portal_proto::auth::v1::decide_device_authorization_request::Decision as Said;
use tonic::body::Body;
use tonic::{Code, Status};

use super::browser::{Visit, decision, is_anothers, problem, undecided};
use super::form;
use super::page::{self, About};

impl Visit<'_> {
    /// The page where a code is typed, and what follows.
    pub(super) async fn device(
        &self,
        parameters: &form::Parameters,
        posted: bool,
    ) -> Result<Response<Body>, Status> {
        let code = form::value(parameters, "user_code");
        let Some(access) = self.signed_in().await? else {
            return Ok(page::sign_in(About::Device(code), None));
        };
        if !posted {
            return Ok(page::device(code, None));
        }
        let answered = if form::value(parameters, "decision").is_empty() {
            self.ask_about_device(&access, code).await
        } else {
            self.decide_about_device(&access, parameters).await
        };
        match answered {
            Err(status) if status.code() != Code::Unauthenticated => match problem(&status) {
                Some(problem) => Ok(page::device("", Some(problem))),
                None => Err(status),
            },
            answered => answered,
        }
    }

    /// Asks about the device that shows `code`.
    async fn ask_about_device(&self, access: &str, code: &str) -> Result<Response<Body>, Status> {
        let message = pb::FindDeviceAuthorizationRequest { user_code: code.to_owned() };
        let call = self.call(Some(access), message).await?;
        let found = self.gateway.oauth_of_users().find_device_authorization(call).await?.into_inner();
        Ok(page::device_consent(&found, &self.person(access).await?))
    }

    async fn decide_about_device(
        &self,
        access: &str,
        parameters: &form::Parameters,
    ) -> Result<Response<Body>, Status> {
        let (decision, title, text) = match decision(parameters) {
            Some(Decision::Approve) => {
                let text = "You can close this page and go on at the device.";
                (Said::Approve, "The device is connected", text)
            }
            Some(Decision::Deny) => {
                (Said::Deny, "Refused", "The device gets nothing. You can close this page.")
            }
            Some(Decision::Unspecified | Decision::Remembered | Decision::Nobody) | None => {
                return Ok(undecided());
            }
        };
        let (code, account) = (form::value(parameters, "user_code"), form::value(parameters, "account_id"));
        // Whom the page named decides; for anybody else it is shown again.
        if account.is_empty() {
            return self.ask_about_device(access, code).await;
        }
        let message = pb::DecideDeviceAuthorizationRequest {
            user_code: code.to_owned(),
            decision: decision.into(),
            account_id: account.to_owned(),
        };
        let call = self.call(Some(access), message).await?;
        match self.gateway.oauth_of_users().decide_device_authorization(call).await {
            Ok(_) => Ok(page::message(StatusCode::OK, title, text)),
            Err(status) if is_anothers(&status) => self.ask_about_device(access, code).await,
            Err(status) => Err(status),
        }
    }
}

//! `portal.auth.v1.MfaService`.

use portal_core::id::{FactorId, Id};
use portal_mesh::Caller;
use portal_mesh::convert::timestamp;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::mfa_service_server::MfaService;
use prost::Message;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::policy::{
    BeginPasskeyAuthentication, BeginPasskeyRegistration, ConfirmTotp, DeleteFactor, DisableTotp, EnrollTotp,
    FinishPasskeyAuthentication, FinishPasskeyRegistration, ListFactors, RegenerateRecoveryCodes,
};
use super::sessions::raises;
use super::{Api, convert, invalid};
use crate::domain::RecoveryCode;

#[async_trait]
impl MfaService for Api {
    async fn enroll_totp(
        &self,
        request: Request<pb::EnrollTotpRequest>,
    ) -> Result<Response<pb::EnrollTotpResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<EnrollTotp>()?;
        let (account, name) = convert::enroll_totp(request.into_inner()).map_err(invalid)?;
        let enrolled = self.app.enroll_totp(&permit, account, name).await?;
        Ok(Response::new(pb::EnrollTotpResponse {
            factor_id: enrolled.factor.id.to_string(),
            secret: enrolled.secret,
            otpauth_uri: enrolled.uri,
            expire_time: Some(timestamp(enrolled.until)),
        }))
    }

    async fn confirm_totp(
        &self,
        request: Request<pb::ConfirmTotpRequest>,
    ) -> Result<Response<pb::ConfirmTotpResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<ConfirmTotp>()?;
        let (factor, proof) = convert::confirm_totp(request.get_ref()).map_err(invalid)?;
        let confirmed = self.app.confirm_totp(&permit, factor, &proof).await?;
        Ok(Response::new(pb::ConfirmTotpResponse {
            factor: Some(convert::factor(&confirmed.factor)),
            recovery_codes: texts(&confirmed.codes),
        }))
    }

    async fn disable_totp(
        &self,
        request: Request<pb::DisableTotpRequest>,
    ) -> Result<Response<pb::DisableTotpResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<DisableTotp>()?;
        let pb::DisableTotpRequest { account_id, proof } = request.into_inner();
        let (account, proof) = convert::proven(&account_id, proof.as_ref()).map_err(invalid)?;
        self.app.disable_totp(&permit, account, &proof).await?;
        Ok(Response::new(pb::DisableTotpResponse {}))
    }

    async fn regenerate_recovery_codes(
        &self,
        request: Request<pb::RegenerateRecoveryCodesRequest>,
    ) -> Result<Response<pb::RegenerateRecoveryCodesResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<RegenerateRecoveryCodes>()?;
        let pb::RegenerateRecoveryCodesRequest { account_id, proof } = request.into_inner();
        let (account, proof) = convert::proven(&account_id, proof.as_ref()).map_err(invalid)?;
        let codes = self.app.regenerate_codes(&permit, account, &proof).await?;
        Ok(Response::new(pb::RegenerateRecoveryCodesResponse { recovery_codes: texts(&codes) }))
    }

    async fn begin_passkey_registration(
        &self,
        request: Request<pb::BeginPasskeyRegistrationRequest>,
    ) -> Result<Response<pb::BeginPasskeyRegistrationResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<BeginPasskeyRegistration>()?;
        let account = convert::begin_registration(request.get_ref()).map_err(invalid)?;
        let asked = self.app.begin_registration(&permit, account).await?;
        Ok(Response::new(pb::BeginPasskeyRegistrationResponse {
            registration_id: asked.handle.to_text(),
            options_json: asked.options_json,
            expire_time: Some(timestamp(asked.expires_at)),
        }))
    }

    async fn finish_passkey_registration(
        &self,
        request: Request<pb::FinishPasskeyRegistrationRequest>,
    ) -> Result<Response<pb::Factor>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<FinishPasskeyRegistration>()?;
        let request = request.into_inner();
        let (whose, answer, id) = convert::finish_registration(&request).map_err(invalid)?;
        let change = self.change::<FinishPasskeyRegistration, _>(&caller, id, &request, |factor, _| {
            convert::factor(factor).encode_to_vec()
        });
        let reply = self.app.finish_registration(&permit, whose, &answer, &change).await?;
        super::answer(reply, convert::factor)
    }

    async fn begin_passkey_authentication(
        &self,
        request: Request<pb::BeginPasskeyAuthenticationRequest>,
    ) -> Result<Response<pb::BeginPasskeyAuthenticationResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<BeginPasskeyAuthentication>()?;
        let hint = convert::hint(request.get_ref()).map_err(invalid)?;
        let asked = self.app.begin_authentication(&permit, hint).await?;
        Ok(Response::new(pb::BeginPasskeyAuthenticationResponse {
            authentication_id: asked.handle.to_text(),
            options_json: asked.options_json,
            expire_time: Some(timestamp(asked.expires_at)),
        }))
    }

    async fn finish_passkey_authentication(
        &self,
        request: Request<pb::FinishPasskeyAuthenticationRequest>,
    ) -> Result<Response<pb::Session>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<FinishPasskeyAuthentication>()?;
        let raises = raises(&caller, request.get_ref().raise_session)?;
        let (assertion, wanted) =
            convert::finish_authentication(request.into_inner(), raises).map_err(invalid)?;
        let signed_in = self.app.finish_authentication(&permit, &assertion, wanted).await?;
        Ok(Response::new(convert::signed_in(&signed_in)))
    }

    async fn list_factors(
        &self,
        request: Request<pb::ListFactorsRequest>,
    ) -> Result<Response<pb::ListFactorsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListFactors>()?;
        let request = request.into_inner();
        let (account, size) = convert::factor_list(&request).map_err(invalid)?;
        let page_token = request.page_token.clone();
        let filters = pb::ListFactorsRequest { page_size: 0, page_token: String::new(), ..request };
        let scope = Self::page_scope::<ListFactors>(&caller, &filters);
        let after = self.open_page(&scope, &page_token)?;
        let after = after.and_then(|id| Some(FactorId::from_uuid(Uuid::from_slice(&id).ok()?)));
        let (factors, more) = self.app.list_factors(&permit, account, (after, size.get() as usize)).await?;
        let next = factors.last().filter(|_| more);
        Ok(Response::new(pb::ListFactorsResponse {
            next_page_token: next
                .map(|last| self.page_tokens.seal(&scope, last.id.uuid().as_bytes()))
                .unwrap_or_default(),
            factors: factors.iter().map(convert::factor).collect(),
        }))
    }

    async fn delete_factor(
        &self,
        request: Request<pb::DeleteFactorRequest>,
    ) -> Result<Response<pb::DeleteFactorResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<DeleteFactor>()?;
        let (factor, proof) = convert::delete_factor(request.get_ref()).map_err(invalid)?;
        self.app.delete_factor(&permit, factor, &proof).await?;
        Ok(Response::new(pb::DeleteFactorResponse {}))
    }
}

fn texts(codes: &[RecoveryCode]) -> Vec<String> {
    codes.iter().map(RecoveryCode::to_text).collect()
}

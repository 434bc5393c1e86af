//! `portal.auth.v1.MfaService`.

use portal_core::id::{FactorId, Id};
use portal_mesh::Caller;
use portal_mesh::convert::timestamp;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::mfa_service_server::MfaService;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::policy::{
    ConfirmTotp, DeleteFactor, DisableTotp, EnrollTotp, ListFactors, RegenerateRecoveryCodes,
};
use super::{Api, convert, invalid};
use crate::domain::RecoveryCode;

/// Signing in with passkeys is not there yet: those methods answer UNIMPLEMENTED, behind their policy rows.
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

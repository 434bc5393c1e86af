//! A request for every method that is right in everything but, perhaps, who sends it.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use serde_json::json;

/// A second factor that nobody has: who has one may not sign in as the others here do.
const FACTOR: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

/// An OAuth client that is not there.
const CLIENT: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c073990";

/// A secret that refers to nothing.
const HANDLE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What requests name.
pub struct Things<'a> {
    pub subject_id: &'a str,
    pub account_id: &'a str,
    pub session_id: &'a str,
    pub consent_id: &'a str,
    pub receipt_id: &'a str,
    pub purpose_id: &'a str,
    pub notice_id: &'a str,
    pub dataset_id: &'a str,
    pub valuation_id: &'a str,
    pub refresh_token: &'a str,
    pub email: &'a str,
}

/// Whether a call that succeeds takes something away from the account it is about.
pub fn is_destructive(method: &MethodDescriptor) -> bool {
    let destructive = [
        "ChangePassword",
        "CompleteRecovery",
        "DeleteAccount",
        "DeleteFactor",
        "LockAccount",
        "RefreshSession",
        "RevokeAllSessions",
        "RevokeSession",
        "RevokeToken",
        "SetRoles",
        "UnlockAccount",
        "UpdateAccount",
    ];
    destructive.contains(&method.name())
}

/// The request of `method` about `things`: by hand where more than ids is needed, else every id that it has room for.
pub fn build(method: &MethodDescriptor, things: &Things<'_>) -> DynamicMessage {
    let message = method.input();
    if let Some(json) = by_hand(method, things) {
        let json = json.to_string();
        let mut json = serde_json::Deserializer::from_str(&json);
        return DynamicMessage::deserialize(message, &mut json)
            .unwrap_or_else(|error| panic!("{}: {error}", method.full_name()));
    }
    filled(&message, things)
}

/// As [`build`], and every list of messages that may name somebody has one in it.
pub fn build_whole(method: &MethodDescriptor, things: &Things<'_>) -> DynamicMessage {
    let mut message = build(method, things);
    for field in method.input().fields() {
        if let (true, Kind::Message(item)) = (field.is_list() && !message.has_field(&field), field.kind()) {
            // One that is there must be whole, and names nobody.
            if item.name() == "Evidence" {
                continue;
            }
            let item = Value::Message(filled(&item, things));
            message.set_field(&field, Value::List(vec![item]));
        }
    }
    message
}

fn by_hand(method: &MethodDescriptor, things: &Things<'_>) -> Option<serde_json::Value> {
    of_auth(method, things).or_else(|| of_data(method, things))
}

/// What is asked of auth.
fn of_auth(method: &MethodDescriptor, things: &Things<'_>) -> Option<serde_json::Value> {
    let password = portal_tests::PASSWORD;
    Some(match method.name() {
        "CreateAccount" => {
            let email = format!("{}@example.org", portal_tests::uuid());
            json!({ "email": email, "password": password, "displayName": "New" })
        }
        "ChangePassword" => json!({
            "accountId": things.account_id, "currentPassword": password, "newPassword": portal_tests::uuid(),
        }),
        "BeginPasskeyAuthentication" => json!({ "email": things.email }),
        "CompleteMfa" => json!({ "challengeToken": "none", "proof": { "totpCode": "123456" } }),
        "ConfirmTotp" | "DeleteFactor" | "DisableTotp" | "RegenerateRecoveryCodes" => factor(method, things),
        "CompleteRecovery" => json!({ "recoveryToken": "none", "newPassword": portal_tests::uuid() }),
        "StartRecovery" => json!({ "email": things.email }),
        "UpdateAccount" => json!({
            "account": { "accountId": things.account_id, "displayName": "Changed" }, "updateMask": "displayName",
        }),
        "VerifyEmail" => json!({ "verificationToken": "none" }),
        "CreateSession" => json!({ "email": things.email, "password": password }),
        "RefreshSession" => json!({ "refreshToken": things.refresh_token }),
        "RotateKeys" => json!({ "use": "KEY_USE_EPOCH" }),
        "SetRoles" => json!({ "accountId": things.account_id, "roles": ["auditor"] }),
        "CreateClient" => json!({ "client": {
            "displayName": "Another", "type": "TYPE_CONFIDENTIAL", "grantTypes": ["client_credentials"],
            "scopes": ["consent.check"],
        } }),
        "RevokeToken" => json!({ "token": "none" }),
        "DecideAuthorization" => json!({
            "requestUri": format!("urn:ietf:params:oauth:request_uri:{HANDLE}"), "decision": "DECISION_APPROVE",
            "accountId": things.account_id,
        }),
        "DecideDeviceAuthorization" => json!({
            "userCode": "BBBB-BBBB", "decision": "DECISION_APPROVE", "accountId": things.account_id,
        }),
        _ => return None,
    })
}

/// What is asked of the other services, and of all of them.
fn of_data(method: &MethodDescriptor, things: &Things<'_>) -> Option<serde_json::Value> {
    let Things { subject_id, purpose_id, notice_id, dataset_id, .. } = things;
    let decision = json!({
        "subjectId": subject_id, "purposeId": purpose_id, "noticeId": notice_id, "language": "en",
        "method": "INDICATION_METHOD_BUTTON",
    });
    let purpose = json!({
        "displayName": "Another", "description": "Another", "legalBasis": "LEGAL_BASIS_CONSENT",
        "dpvPurposes": ["dpv:ResearchAndDevelopment"], "personalData": ["dpv-pd:Name"], "jurisdiction": "DE",
    });
    let notice = json!({ "title": "Another", "bodies": { "en": "Another" }, "purposeIds": [purpose_id] });
    let records = json!({
        "recordIds": [portal_tests::uuid()], "subjectIds": [subject_id], "features": [0, 1], "labels": [0],
        "split": "SPLIT_TRAIN",
    });
    Some(match method.name() {
        "CreatePurpose" => json!({ "purpose": purpose }),
        "UpdatePurpose" => json!({
            "purpose": { "purposeId": purpose_id, "displayName": "Changed" }, "updateMask": "displayName",
        }),
        "CreateNotice" => json!({ "notice": notice }),
        "UpdateNotice" => json!({
            "notice": { "noticeId": notice_id, "title": "Changed" }, "updateMask": "title",
        }),
        "GiveConsent" | "RefuseConsent" | "RenewConsent" => decision,
        "RequestConsent" => json!({
            "subjectId": subject_id, "purposeId": purpose_id, "noticeId": notice_id, "language": "en",
        }),
        "InvalidateConsent" => json!({ "subjectId": subject_id, "purposeId": purpose_id, "reason": "Test" }),
        "CreateSubject" => json!({ "subject": { "reference": portal_tests::uuid() } }),
        "LookupSubject" => json!({ "reference": "nobody" }),
        "ExportReceipt" => json!({ "receiptId": things.receipt_id, "format": "RECEIPT_FORMAT_COSE" }),
        "VerifyReceipt" => json!({ "cose": "AA==" }),
        "GetInclusionProof" => json!({ "leafIndex": "0" }),
        "GetConsistencyProof" => json!({ "firstTreeSize": "1" }),
        "ListConsentEvents" => json!({ "subjectId": subject_id }),
        "BatchCheckConsents" => json!({ "requests": [{ "subjectId": subject_id, "purposeId": purpose_id }] }),
        "CreateDataset" => json!({ "dataset": {
            "displayName": "Another", "task": "TASK_REGRESSION", "featureCount": 1, "purposeId": purpose_id,
        } }),
        "AppendRecordBatch" => json!({ "datasetId": dataset_id, "batch": records }),
        "AppendRecords" => json!({ "datasetId": dataset_id }),
        "StartValuation" => json!({ "datasetId": dataset_id, "method": "METHOD_KNN_SHAPLEY" }),
        "ListOperations" => json!({ "name": "operations" }),
        _ => return None,
    })
}

/// About a second factor of the account; what has the form of a proof of it.
fn factor(method: &MethodDescriptor, things: &Things<'_>) -> serde_json::Value {
    let mut request = json!({ "accountId": things.account_id });
    let input = method.input();
    let parts = [
        ("factor_id", "factorId", json!(FACTOR)),
        ("code", "code", json!("123456")),
        ("proof", "proof", json!({ "totpCode": "123456" })),
    ];
    for (field, name, value) in parts {
        if input.get_field_by_name(field).is_some() {
            request[name] = value;
        }
    }
    request
}

fn filled(message: &MessageDescriptor, things: &Things<'_>) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        if let Some(value) = value(&field, things) {
            filled.set_field(&field, value);
        }
    }
    filled
}

fn value(field: &FieldDescriptor, things: &Things<'_>) -> Option<Value> {
    match field.kind() {
        Kind::String if !field.is_list() => Some(Value::String(match field.name() {
            "client_id" => CLIENT.to_owned(),
            "subject_id" => things.subject_id.to_owned(),
            "account_id" => things.account_id.to_owned(),
            "session_id" => things.session_id.to_owned(),
            "consent_id" => things.consent_id.to_owned(),
            "receipt_id" => things.receipt_id.to_owned(),
            "purpose_id" => things.purpose_id.to_owned(),
            "notice_id" => things.notice_id.to_owned(),
            "dataset_id" => things.dataset_id.to_owned(),
            "valuation_id" => things.valuation_id.to_owned(),
            "name" => format!("operations/{}", things.valuation_id),
            _ => return None,
        })),
        // One that is there must be whole.
        Kind::Message(message) if message.name() == "Delegation" => None,
        Kind::Message(message) if !field.is_list() && message.package_name().starts_with("portal.") => {
            Some(Value::Message(filled(&message, things)))
        }
        _ => None,
    }
}

//! Rules that hold for every rpc of the contract, read from the checked-in descriptor set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};

/// What clients rely on: no name here may go away.
const SERVICES: &[(&str, &str)] = &[
    (
        "portal.consent.v1.PurposeService",
        "CreatePurpose GetPurpose ListPurposes UpdatePurpose PublishPurpose ArchivePurpose ListPurposeRevisions",
    ),
    (
        "portal.consent.v1.NoticeService",
        "CreateNotice GetNotice ListNotices UpdateNotice PublishNotice ListNoticeRevisions",
    ),
    (
        "portal.consent.v1.ConsentService",
        "GiveConsent RefuseConsent WithdrawConsent WithdrawAllConsents RenewConsent GetConsent ListConsents \
         ListConsentEvents BatchRecordConsents ImportConsents",
    ),
    ("portal.consent.v1.DecisionService", "CheckConsent BatchCheckConsents ExplainDecision"),
    ("portal.consent.v1.ConsentChangeService", "WatchConsentChanges AckConsentChanges"),
    ("portal.consent.v1.ReceiptService", "GetReceipt ListReceipts ExportReceipt VerifyReceipt"),
    ("portal.consent.v1.SubjectService", "CreateSubject GetSubject LookupSubject ListSubjects"),
    (
        "portal.auth.v1.AccountService",
        "CreateAccount GetAccount UpdateAccount ChangePassword DeleteAccount ListAccounts LockAccount \
         UnlockAccount SetRoles StartRecovery CompleteRecovery VerifyEmail",
    ),
    (
        "portal.auth.v1.SessionService",
        "CreateSession CompleteMfa RefreshSession ListSessions RevokeSession RevokeAllSessions",
    ),
    (
        "portal.auth.v1.MfaService",
        "EnrollTotp ConfirmTotp DisableTotp RegenerateRecoveryCodes BeginPasskeyRegistration \
         FinishPasskeyRegistration BeginPasskeyAuthentication FinishPasskeyAuthentication ListFactors \
         DeleteFactor",
    ),
    ("portal.auth.v1.TokenService", "GetKeySet IntrospectToken RevokeToken ExchangeToken WatchRevocations"),
    ("portal.auth.v1.ClientService", "CreateClient GetClient ListClients RotateClientSecret DeleteClient"),
    ("portal.auth.v1.AuditService", "ListAuditEvents WatchAuditEvents"),
    (
        "portal.valuation.v1.DatasetService",
        "CreateDataset GetDataset ListDatasets DeleteDataset AppendRecords AppendRecordBatch ListRecords \
         DeleteRecords",
    ),
    (
        "portal.valuation.v1.ValuationService",
        "StartValuation GetValuation ListValuations CancelValuation WatchValuation ListRecordValues \
         ListSubjectValues GetSubjectValue ListSuspects ExplainValue GetRemovalCurve",
    ),
    ("portal.valuation.v1.PayoutService", "CreatePayout GetPayout ListPayoutShares"),
    ("portal.valuation.v1.AnonymisationService", "CreateAnonymisedExport GetAnonymisedExport"),
    ("google.longrunning.Operations", "GetOperation ListOperations CancelOperation WaitOperation"),
];

/// In each of the three services.
const SHARED: &[(&str, &str)] = &[
    ("LedgerService", "GetCheckpoint GetInclusionProof GetConsistencyProof ListEntries GetLedgerKeys"),
    ("IntegrityService", "RunScan GetReport"),
    ("KeyService", "ListKeys RotateKeys DestroyKey GetCryptoInventory"),
    (
        "MigrationService",
        "ListMigrations GetMigration StartMigration PauseMigration RollbackMigration VerifyMigration CommitMigration",
    ),
];

/// The paths that clients rely on.
const PATHS: &[(&str, &str)] = &[
    ("CreateAccount", "POST /v1/accounts"),
    ("CreateSession", "POST /v1/sessions"),
    ("RefreshSession", "POST /v1/sessions:refresh"),
    ("CreatePurpose", "POST /v1/purposes"),
    ("PublishPurpose", "POST /v1/purposes/{purpose_id}:publish"),
    ("CreateNotice", "POST /v1/notices"),
    ("GiveConsent", "POST /v1/consents:give"),
    ("RefuseConsent", "POST /v1/consents:refuse"),
    ("WithdrawConsent", "POST /v1/consents:withdraw"),
    ("RenewConsent", "POST /v1/consents:renew"),
    ("CheckConsent", "POST /v1/consents:check"),
    ("ListConsents", "GET /v1/subjects/{subject_id}/consents"),
    ("GetReceipt", "GET /v1/receipts/{receipt_id}"),
    ("CreateDataset", "POST /v1/datasets"),
    ("StartValuation", "POST /v1/datasets/{dataset_id}:value"),
];

#[test]
fn every_promised_rpc_exists() {
    let pool = pool();
    let shared = ["consent", "auth", "valuation"].into_iter().flat_map(|package| {
        SHARED.iter().map(move |(service, rpcs)| (format!("portal.{package}.v1.{service}"), *rpcs))
    });
    let own = SERVICES.iter().map(|(service, rpcs)| ((*service).to_owned(), *rpcs));
    for (service, rpcs) in own.chain(shared) {
        let descriptor = pool.get_service_by_name(&service).unwrap_or_else(|| panic!("no {service}"));
        for rpc in rpcs.split_whitespace() {
            assert!(descriptor.methods().any(|method| method.name() == rpc), "no {service}/{rpc}");
        }
    }
}

#[test]
fn every_unary_rpc_has_a_path_of_its_own() {
    let mut seen = BTreeMap::new();
    for method in methods() {
        let rules = rules(&method);
        assert!(
            !rules.is_empty()
                || method.is_client_streaming()
                || method.is_server_streaming()
                // Its HTTP is `/oauth2/…`, in the form of other standards.
                || method.parent_service().name() == "OAuthService",
            "{} has no google.api.http",
            method.full_name()
        );
        for rule in rules {
            // Two paths that differ only in the names of their variables are one path.
            let shape = format!("{} {}", rule.verb, without_variable_names(&rule.path));
            if let Some(other) = seen.insert(shape, method.full_name().to_owned()) {
                panic!("{} and {other} share {} {}", method.full_name(), rule.verb, rule.path);
            }
        }
    }
}

#[test]
fn promised_paths_stand() {
    for (name, path) in PATHS {
        let method = methods().into_iter().find(|method| method.name() == *name).unwrap();
        let rules = rules(&method);
        assert!(
            rules.iter().any(|rule| format!("{} {}", rule.verb, rule.path) == *path),
            "{name} is not at {path}"
        );
    }
}

#[test]
fn path_variables_are_fields_and_bodies_are_whole_messages() {
    for method in methods() {
        for rule in rules(&method) {
            for variable in variables(&rule.path) {
                let mut message = method.input();
                for part in variable.split('.') {
                    let field = message
                        .get_field_by_name(part)
                        .unwrap_or_else(|| panic!("{}: no field {variable}", method.full_name()));
                    if let Some(inner) = field.kind().as_message() {
                        message = inner.clone();
                    }
                }
            }
            let expected = if ["GET", "DELETE"].contains(&rule.verb) { "" } else { "*" };
            assert_eq!(rule.body, expected, "{} {}", method.full_name(), rule.path);
        }
    }
}

#[test]
fn what_only_reads_says_so() {
    const VERBS: &[&str] = &[
        "BatchCheck",
        "Check",
        "Explain",
        "Get",
        "Introspect",
        "List",
        "Lookup",
        "VerifyReceipt",
        "Wait",
        "Watch",
    ];
    // Rendering a receipt and minting a short-lived token leave nothing behind; an export leaves an audit event, as any access may.
    const OTHERS: &[&str] = &["ExchangeToken", "ExportAccount", "ExportReceipt", "ResolveLogout"];
    for method in methods() {
        let name = method.name();
        let reads = VERBS.iter().any(|verb| name.starts_with(verb)) || OTHERS.contains(&name);
        assert_eq!(is_read_only(&method), reads, "{}", method.full_name());
        let gets = rules(&method).iter().any(|rule| rule.verb == "GET");
        assert!(reads || !gets, "{} is a GET with side effects", method.full_name());
    }
}

#[test]
fn lists_are_paged() {
    for method in methods().iter().filter(|method| method.name().starts_with("List")) {
        for field in ["page_size", "page_token"] {
            assert!(
                method.input().get_field_by_name(field).is_some(),
                "{} lacks {field}",
                method.full_name()
            );
        }
        assert!(method.output().get_field_by_name("next_page_token").is_some(), "{}", method.full_name());
    }
}

struct Rule {
    verb: &'static str,
    path: String,
    body: String,
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(portal_proto::DESCRIPTORS).unwrap()
}

fn methods() -> Vec<MethodDescriptor> {
    pool().services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

fn is_read_only(method: &MethodDescriptor) -> bool {
    let options = method.options();
    let level = options.get_field_by_name("idempotency_level").unwrap();
    level.as_enum_number() == Some(1)
}

fn rules(method: &MethodDescriptor) -> Vec<Rule> {
    let http = method.parent_pool().get_extension_by_name("google.api.http").unwrap();
    let options = method.options();
    if !options.has_extension(&http) {
        return Vec::new();
    }
    let value = options.get_extension(&http);
    let first = value.as_message().unwrap();
    let more = first.get_field_by_name("additional_bindings").unwrap();
    let more = more.as_list().unwrap().iter().filter_map(Value::as_message);
    std::iter::once(first).chain(more).map(rule).collect()
}

fn rule(message: &DynamicMessage) -> Rule {
    let text = |field: &str| message.get_field_by_name(field).unwrap().as_str().unwrap().to_owned();
    let verbs = [("get", "GET"), ("post", "POST"), ("patch", "PATCH"), ("put", "PUT"), ("delete", "DELETE")];
    let (field, verb) = verbs.into_iter().find(|(field, _)| message.has_field_by_name(field)).unwrap();
    Rule { verb, path: text(field), body: text("body") }
}

/// The names between braces, without their patterns.
fn variables(path: &str) -> Vec<&str> {
    path.split('{').skip(1).map(|rest| rest.split(['}', '=']).next().unwrap()).collect()
}

fn without_variable_names(path: &str) -> String {
    let mut shape = path.to_owned();
    for variable in variables(path) {
        shape = shape.replace(&format!("{{{variable}}}"), "*").replace(&format!("{{{variable}="), "{");
    }
    shape
}

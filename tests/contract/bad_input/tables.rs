//! What is tried on which method. Requests are proto3 JSON and are sent as protobuf, since JSON would be refused earlier.

use serde_json::{Value, json};

use super::Scene;

/// A call that must be refused for one field.
pub struct Wrong {
    pub caller: &'static str,
    pub method: &'static str,
    pub request: Value,
    /// The field that the violation must name.
    pub field: &'static str,
}

fn wrong(caller: &'static str, method: &'static str, request: Value, field: &'static str) -> Wrong {
    Wrong { caller, method, request, field }
}

/// List methods, who may call them, and what they need besides a page.
pub fn lists(scene: &Scene) -> Vec<(&'static str, &'static str, Value)> {
    let anna = json!({ "subjectId": scene.anna.subject_id });
    vec![
        ("anna", "portal.consent.v1.ConsentService/ListConsents", anna.clone()),
        ("anna", "portal.consent.v1.ConsentService/ListConsentEvents", anna),
        ("anna", "portal.consent.v1.NoticeService/ListNotices", json!({})),
        ("anna", "portal.consent.v1.PurposeService/ListPurposes", json!({})),
        ("anna", "portal.auth.v1.SessionService/ListSessions", json!({ "accountId": scene.anna.account_id })),
        ("controller", "portal.valuation.v1.DatasetService/ListDatasets", json!({})),
        ("controller", "portal.valuation.v1.ValuationService/ListValuations", json!({})),
        ("operator", "portal.auth.v1.AccountService/ListAccounts", json!({})),
    ]
}

/// Fields that are wrong in themselves.
pub fn fields(scene: &Scene) -> Vec<Wrong> {
    let mut table = ids(scene);
    table.extend(creations(scene));
    for (caller, method, mut request) in lists(scene) {
        request["pageSize"] = json!(-1);
        table.push(wrong(caller, method, request.clone(), "page_size"));
        request["pageSize"] = json!(1);
        request["pageToken"] = json!("no-token");
        table.push(wrong(caller, method, request, "page_token"));
    }
    table
}

/// Ids of the wrong shape, wherever a request has one.
#[expect(clippy::too_many_lines, reason = "a table")]
fn ids(scene: &Scene) -> Vec<Wrong> {
    let shapes =
        ["", "x", "0198c3a4", "{0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f}", "../../etc/passwd", "1' or '1'='1"];
    let subject = &scene.anna.subject_id;
    let mut table = Vec::new();
    for id in shapes {
        table.extend([
            wrong(
                "anna",
                "portal.auth.v1.AccountService/GetAccount",
                json!({ "accountId": id }),
                "account_id",
            ),
            wrong(
                "anna",
                "portal.auth.v1.SessionService/ListSessions",
                json!({ "accountId": id }),
                "account_id",
            ),
            wrong(
                "anna",
                "portal.auth.v1.SessionService/RevokeSession",
                json!({ "sessionId": id }),
                "session_id",
            ),
            wrong(
                "operator",
                "portal.auth.v1.AccountService/SetRoles",
                json!({ "accountId": id }),
                "account_id",
            ),
            wrong(
                "anna",
                "portal.consent.v1.PurposeService/GetPurpose",
                json!({ "purposeId": id }),
                "purpose_id",
            ),
            wrong(
                "anna",
                "portal.consent.v1.NoticeService/GetNotice",
                json!({ "noticeId": id }),
                "notice_id",
            ),
            wrong(
                "anna",
                "portal.consent.v1.ConsentService/GetConsent",
                json!({ "consentId": id }),
                "consent_id",
            ),
            wrong(
                "controller",
                "portal.consent.v1.PurposeService/PublishPurpose",
                json!({ "purposeId": id }),
                "purpose_id",
            ),
            wrong(
                "controller",
                "portal.consent.v1.NoticeService/PublishNotice",
                json!({ "noticeId": id }),
                "notice_id",
            ),
            wrong(
                "controller",
                "portal.consent.v1.ConsentService/WithdrawConsent",
                json!({ "subjectId": id, "purposeId": scene.purpose_id }),
                "subject_id",
            ),
            wrong(
                "anna",
                "portal.consent.v1.DecisionService/CheckConsent",
                json!({ "subjectId": subject, "purposeId": id }),
                "purpose_id",
            ),
            wrong(
                "controller",
                "portal.valuation.v1.DatasetService/GetDataset",
                json!({ "datasetId": id }),
                "dataset_id",
            ),
            wrong(
                "controller",
                "portal.valuation.v1.ValuationService/StartValuation",
                json!({ "datasetId": id, "method": "METHOD_KNN_SHAPLEY" }),
                "dataset_id",
            ),
            wrong(
                "controller",
                "portal.valuation.v1.ValuationService/GetValuation",
                json!({ "valuationId": id }),
                "valuation_id",
            ),
            wrong("controller", "google.longrunning.Operations/GetOperation", json!({ "name": id }), "name"),
        ]);
    }
    table
}

/// Methods that create something, each with one fault.
fn creations(scene: &Scene) -> Vec<Wrong> {
    let mut table = Vec::new();
    for creation in good_creations(scene) {
        let mut request = creation.request.clone();
        request["requestId"] = json!("no-uuid");
        table.push(wrong(creation.caller, creation.method, request, "request_id"));
        for (path, value) in creation.faults {
            let mut request = creation.request.clone();
            let pointer = format!("/{}", path.replace('.', "/"));
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            request.pointer_mut(parent).unwrap()[name] = value;
            table.push(wrong(creation.caller, creation.method, request, proto_name(path)));
        }
    }
    table
}

/// A request that creates something, and what can be wrong with it: path in JSON, and a value.
pub struct Creation {
    pub caller: &'static str,
    pub method: &'static str,
    /// The path at the JSON edge.
    pub path: String,
    pub request: Value,
    pub faults: Vec<(&'static str, Value)>,
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn good_creations(scene: &Scene) -> Vec<Creation> {
    let Scene { purpose_id, notice_id, dataset_id, anna, .. } = scene;
    let purpose = json!({ "purpose": {
        "displayName": "Bad", "description": "Bad", "legalBasis": "LEGAL_BASIS_CONSENT", "jurisdiction": "DE",
        "dpvPurposes": ["dpv:ResearchAndDevelopment"], "personalData": ["dpv-pd:Name"],
    } });
    let notice =
        json!({ "notice": { "title": "Bad", "bodies": { "en": "Bad" }, "purposeIds": [purpose_id] } });
    let account =
        json!({ "email": "bad@example.org", "password": "correct horse battery", "displayName": "Bad" });
    let consent = json!({
        "subjectId": anna.subject_id, "purposeId": purpose_id, "noticeId": notice_id, "language": "en",
        "method": "INDICATION_METHOD_BUTTON",
    });
    let dataset = json!({ "dataset": {
        "displayName": "Bad", "task": "TASK_CLASSIFICATION", "featureCount": 2, "purposeId": purpose_id,
    } });
    let records = json!({ "datasetId": dataset_id, "batch": {
        "recordIds": ["bad"], "subjectIds": [anna.subject_id], "features": [0.0, 1.0], "labels": [0.0],
        "split": "SPLIT_TRAIN",
    } });
    let long = json!("x".repeat(30_000));
    let creation = |caller, method, path: &str, request, faults| Creation {
        caller,
        method,
        path: path.to_owned(),
        request,
        faults,
    };
    vec![
        creation(
            "controller",
            "portal.consent.v1.PurposeService/CreatePurpose",
            "/v1/purposes",
            purpose,
            vec![
                ("purpose.displayName", json!("")),
                ("purpose.displayName", long.clone()),
                ("purpose.legalBasis", json!("LEGAL_BASIS_UNSPECIFIED")),
                ("purpose.legalBasis", json!(99)),
                ("purpose.validity", json!("-1s")),
            ],
        ),
        creation(
            "controller",
            "portal.consent.v1.NoticeService/CreateNotice",
            "/v1/notices",
            notice,
            vec![
                ("notice.title", json!("")),
                ("notice.title", long.clone()),
                ("notice.bodies", json!({})),
                ("notice.purposeIds", json!([])),
            ],
        ),
        creation(
            "",
            "portal.auth.v1.AccountService/CreateAccount",
            "/v1/accounts",
            account,
            vec![
                ("email", json!("not an address")),
                ("email", json!("")),
                ("email", json!(format!("{}@example.org", "x".repeat(300)))),
                ("password", json!("short")),
                ("password", json!("x".repeat(2_000))),
                ("displayName", long.clone()),
            ],
        ),
        creation(
            "anna",
            "portal.consent.v1.ConsentService/GiveConsent",
            "/v1/consents:give",
            consent,
            vec![
                ("noticeId", json!("x")),
                ("language", json!("not a language")),
                ("method", json!("INDICATION_METHOD_UNSPECIFIED")),
                ("validFor", json!("-5s")),
            ],
        ),
        creation(
            "controller",
            "portal.valuation.v1.DatasetService/CreateDataset",
            "/v1/datasets",
            dataset,
            vec![
                ("dataset.displayName", json!("")),
                ("dataset.featureCount", json!(0)),
                ("dataset.featureCount", json!(-3)),
                ("dataset.purposeId", json!("x")),
                ("dataset.task", json!("TASK_UNSPECIFIED")),
            ],
        ),
        creation(
            "controller",
            "portal.valuation.v1.DatasetService/AppendRecordBatch",
            &format!("/v1/datasets/{dataset_id}:appendRecords"),
            records,
            vec![
                ("batch.recordIds", json!([])),
                ("batch.features", json!([0.0])),
                ("batch.labels", json!([0.0, 1.0])),
                ("batch.split", json!("SPLIT_UNSPECIFIED")),
            ],
        ),
    ]
}

/// `purpose.displayName` as violations name it.
fn proto_name(path: &'static str) -> &'static str {
    match path {
        "batch.recordIds" => "batch.record_ids",
        "dataset.displayName" => "dataset.display_name",
        "dataset.featureCount" => "dataset.feature_count",
        "dataset.purposeId" => "dataset.purpose_id",
        "displayName" => "display_name",
        "notice.purposeIds" => "notice.purpose_ids",
        "noticeId" => "notice_id",
        "purpose.displayName" => "purpose.display_name",
        "purpose.legalBasis" => "purpose.legal_basis",
        "validFor" => "valid_for",
        _ => path,
    }
}

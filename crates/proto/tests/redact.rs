//! Secrets and personal data do not show in `Debug`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use portal_proto::auth::v1 as auth;
use portal_proto::consent::v1 as consent;
use prost_reflect::DescriptorPool;

#[test]
fn marked_fields_print_as_redacted() {
    let request = auth::CreateAccountRequest {
        email: "ada@example.org".to_owned(),
        password: "correct horse".to_owned(),
        request_id: "a-request".to_owned(),
        ..Default::default()
    };
    let shown = format!("{request:?}");
    assert!(!shown.contains("ada") && !shown.contains("horse"), "{shown}");
    assert!(shown.contains("password: [redacted]") && shown.contains("a-request"), "{shown}");
}

#[test]
fn marked_fields_stay_hidden_in_what_holds_them() {
    let session = auth::Session { access_token: "handle".to_owned(), ..Default::default() };
    let result = Some(auth::create_session_response::Result::Session(session));
    let shown = format!("{:?}", auth::CreateSessionResponse { result });
    assert!(!shown.contains("handle"), "{shown}");

    let proof = auth::factor_proof::Proof::TotpCode("123456".to_owned());
    let shown = format!("{:?}", auth::FactorProof { proof: Some(proof) });
    assert!(shown.contains("TotpCode([redacted])") && !shown.contains("123456"), "{shown}");

    let evidence = consent::Evidence { content: b"signed".to_vec(), ..Default::default() };
    let shown =
        format!("{:?}", consent::GiveConsentRequest { evidence: vec![evidence], ..Default::default() });
    assert!(shown.contains("content: [redacted]") && !shown.contains("115, 105"), "{shown}");
}

#[test]
fn fields_with_telling_names_are_marked() {
    let pool = DescriptorPool::decode(portal_proto::DESCRIPTORS).unwrap();
    // Positions in a list or a stream, not rights.
    let positions = ["page_token", "next_page_token", "resume_token"];
    let telling = |name: &str| {
        (name.ends_with("_token") && !positions.contains(&name))
            || ["password", "secret", "email", "credential"].iter().any(|word| name.contains(word))
    };
    let mut seen = 0;
    for message in pool.all_messages().filter(|message| message.package_name().starts_with("portal.")) {
        for field in message.fields().filter(|field| telling(field.name())) {
            if !matches!(field.kind(), prost_reflect::Kind::String | prost_reflect::Kind::Bytes) {
                continue;
            }
            let options = field.options();
            let marked = options.get_field_by_name("debug_redact").unwrap().as_bool().unwrap();
            assert!(marked, "{} lacks [debug_redact = true]", field.full_name());
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} telling names: has the rule lost its objects?");
}

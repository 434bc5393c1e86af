//! One person on what is another's: refused by every method whose request can name a person or something of one, in the same
//! way whether it exists or not.
//!
//! Methods and fields are those of the descriptors: whoever adds a field that names something says here whether that may be
//! a person's, and a method that lets strangers in has to be named in [`LET_IN`] with its reason.

use std::collections::BTreeSet;

use portal_tests::{Answer, Portal};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use tonic::Code;

use crate::authz::{World, methods, path};

/// Fields that name a person, something of a person, or something that holds records of persons.
const OF_A_PERSON: [&str; 15] = [
    "account_id",
    "consent_id",
    "dataset_id",
    "email",
    "event_id",
    "factor_id",
    "name",
    "receipt_id",
    "record_id",
    "record_ids",
    "reference",
    "session_id",
    "subject_id",
    "subject_ids",
    "valuation_id",
];

/// Other fields that name something: of an organisation, of an operator, of the call itself; or a secret, which is its own
/// proof.
const OTHERS: [&str; 27] = [
    "access_token",
    "ack_id",
    "anonymised_export_id",
    "audit_event_id",
    "authentication_id",
    "challenge_token",
    "client_id",
    "delegate_id",
    "id_token_hint",
    "import_id",
    "key_id",
    "notice_id",
    "notice_ids",
    "owner_account_id",
    "page_token",
    "party_id",
    "payout_id",
    "purpose_id",
    "purpose_ids",
    "recovery_token",
    "refresh_token",
    "registration_id",
    "report_id",
    "request_id",
    "resume_token",
    "token",
    "verification_token",
];

/// Methods that answer strangers, why that is right, and whether the answer may be about the other person.
const LET_IN: [(&str, &str, bool); 5] = [
    ("portal.auth.v1.AccountService/CreateAccount", "who has no account yet is nobody's stranger", false),
    (
        "portal.auth.v1.AccountService/StartRecovery",
        "the answer says nothing; who reads the mail is no stranger",
        false,
    ),
    (
        "portal.auth.v1.MfaService/BeginPasskeyAuthentication",
        "what is asked of an address looks alike whether anybody has it or not",
        false,
    ),
    ("portal.auth.v1.SessionService/CreateSession", "who knows the password is no stranger", true),
    (
        "portal.valuation.v1.ValuationService/ListSubjectValues",
        "a list of what is the caller's own, and of nothing else",
        false,
    ),
];

/// Methods that say of what is nobody's that it is not there. The ids are random: who has one that exists was told it.
const TELL_WHAT_IS_THERE: [&str; 3] = [
    "portal.consent.v1.ConsentService/GetConsent",
    "portal.consent.v1.ReceiptService/ExportReceipt",
    "portal.consent.v1.ReceiptService/GetReceipt",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_is_refused_by_every_method() {
    let pool = DescriptorPool::decode(portal_proto::DESCRIPTORS).unwrap();
    let unknown: BTreeSet<_> = methods(&pool).iter().flat_map(|method| unknown(&method.input())).collect();
    assert!(unknown.is_empty(), "say whether these fields name something of a person: {unknown:?}");
    let portal = Portal::start().await;
    let world = World::new(&portal).await;
    let (mut asked, mut wrong) = (0, Vec::new());
    for method in methods(&pool).into_iter().filter(|method| names_a_person(&method.input())) {
        asked += 1;
        let path = path(&method);
        let bens = world.trespass(&method, true).await;
        let nobodys = world.trespass(&method, false).await;
        let let_in = LET_IN.iter().find(|(known, ..)| *known == path);
        match (bens.code(), let_in) {
            (Some(Code::PermissionDenied), None)
                if alike(&bens, &nobodys, TELL_WHAT_IS_THERE.contains(&path.as_str())) => {}
            // Not built yet: whoever builds it comes by here.
            (Some(Code::Unimplemented), None) => {}
            (Some(Code::PermissionDenied | Code::Unimplemented), _) | (_, None) => {
                wrong.push(format!("{path}: {:?}, and of nobody's {:?}", said(&bens), said(&nobodys)));
            }
            (_, Some((_, _, about))) => {
                assert!(*about || !world.is_about_ben(&bens.body), "{path} tells of somebody else");
            }
        }
    }
    assert!(wrong.is_empty(), "one person reaches what is another's, or learns of it:\n{}", wrong.join("\n"));
    assert!(asked >= 50, "{asked} methods name a person");
}

/// Whether the answers tell a stranger no more than they may; where they may, nothing but that.
fn alike(bens: &Answer, nobodys: &Answer, tells: bool) -> bool {
    if tells { nobodys.code() == Some(Code::NotFound) } else { said(bens) == said(nobodys) }
}

fn said(answer: &Answer) -> (Option<Code>, Option<String>) {
    (answer.code(), answer.reason())
}

/// Whether a request can name something of a person, however deep.
fn names_a_person(request: &MessageDescriptor) -> bool {
    fields(request).iter().any(|field| OF_A_PERSON.contains(&field.name()))
}

/// Fields that name something and of which nobody has said what.
fn unknown(request: &MessageDescriptor) -> Vec<String> {
    let names = |field: &FieldDescriptor| {
        let name = field.name();
        ["_id", "_ids", "_token"].iter().any(|end| name.ends_with(end))
            || ["email", "name", "reference", "token"].contains(&name)
    };
    let fields = fields(request).into_iter().filter(names);
    let unknown =
        fields.filter(|field| !OF_A_PERSON.contains(&field.name()) && !OTHERS.contains(&field.name()));
    unknown.map(|field| field.full_name().to_owned()).collect()
}

/// The fields of a message that hold text, and of those in it.
fn fields(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    fn collect(message: &MessageDescriptor, seen: &mut BTreeSet<String>, found: &mut Vec<FieldDescriptor>) {
        if !seen.insert(message.full_name().to_owned()) {
            return;
        }
        for field in message.fields() {
            match field.kind() {
                Kind::String => found.push(field),
                Kind::Message(inner) => collect(&inner, seen, found),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    collect(message, &mut BTreeSet::new(), &mut found);
    found
}

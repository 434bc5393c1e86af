//! What is decided, and which policies are named for it.

use std::collections::BTreeSet;

use portal_authz::{Answer, Authority, Refusal};
use portal_core::Role::{Auditor, Controller, Officer, Operator, Service, Subject};
use portal_core::{Acr, Role, Scope, Workload};
use prost_reflect::DescriptorPool;

use crate::who::{GIVE, LIST_SUBJECTS, ROTATE_KEYS, SIGN_UP, nobody, process, refused, told, who};
use crate::with;

#[test]
fn the_schema_has_the_methods_of_the_protos_and_of_health() {
    let pool = DescriptorPool::decode(portal_proto::DESCRIPTORS).unwrap();
    let packages = ["google.longrunning", "portal.auth.v1", "portal.consent.v1", "portal.valuation.v1"];
    let services = pool.services().filter(|service| packages.contains(&service.package_name()));
    let mut methods: BTreeSet<String> = services
        .flat_map(|service| {
            let name = service.full_name().to_owned();
            service.methods().map(move |method| format!("/{name}/{}", method.name())).collect::<Vec<_>>()
        })
        .collect();
    methods.extend(["Check", "List", "Watch"].map(|name| format!("/grpc.health.v1.Health/{name}")));
    assert!(methods.len() > 150, "{}", methods.len());
    let authority = Authority::new(&[]).unwrap();
    let known: BTreeSet<String> = authority.methods().map(str::to_owned).collect();
    assert_eq!(known, methods);
}

#[test]
fn a_decision_names_the_policies_that_made_it() {
    let authority = Authority::new(&[]).unwrap();
    let check = |roles: &[Role], method: &str, answer: Answer, policies: &str| {
        let decision = who(roles).told(&authority, method);
        assert_eq!((decision.answer, decision.names().as_str()), (answer, policies), "{roles:?} {method}");
    };
    check(&[Subject], GIVE, Answer::Own, "portal.consent.own");
    check(&[Controller, Subject], GIVE, Answer::Everybodys, "portal.consent.record");
    check(&[Auditor], GIVE, refused(Refusal::RoleNotAllowed), "");
    check(&[Subject], LIST_SUBJECTS, refused(Refusal::RoleNotAllowed), "portal.guard.own");
    check(
        &[Officer],
        ROTATE_KEYS,
        refused(Refusal::RoleNotAllowed),
        "portal.guard.operation portal.guard.own",
    );
    check(&[Operator], ROTATE_KEYS, Answer::Everybodys, "portal.account.operator");
    check(&[Operator], "/portal.consent.v1.ConsentService/Unknown", refused(Refusal::Unknown), "");
}

#[test]
fn a_client_needs_the_scope_besides() {
    let authority = Authority::new(&[]).unwrap();
    for (scopes, answer, policies) in [
        (&[Scope::ConsentRead][..], refused(Refusal::ScopeMissing), "portal.scopes"),
        (&[Scope::ConsentRecord, Scope::Email][..], Answer::Own, "portal.consent.own"),
    ] {
        let decision = who(&[Subject]).through(scopes).told(&authority, GIVE);
        assert_eq!((decision.answer, decision.names().as_str()), (answer, policies));
    }
}

#[test]
fn a_forbid_of_an_operator_holds_and_is_named() {
    let authority = with(
        r#"@id("house.nobody-signs-up")
        forbid (principal is Portal::Anonymous, action == Portal::Action::"portal.auth.v1.AccountService/CreateAccount",
            resource);"#,
    );
    let decision = told(&authority, &nobody(SIGN_UP));
    assert_eq!(
        (decision.answer, decision.names().as_str()),
        (refused(Refusal::PolicyDenied), "house.nobody-signs-up")
    );
    assert_eq!(who(&[Operator]).told(&authority, SIGN_UP).answer, Answer::Everybodys);
    let without = Authority::new(&[]).unwrap();
    assert_eq!(told(&without, &nobody(SIGN_UP)).answer, Answer::Everybodys);
}

#[test]
fn a_forbid_may_leave_ones_own_records() {
    let authority = with(
        r#"@id("house.own-only")
        forbid (principal, action in Portal::Action::"consent.decide", resource == Portal::Records::"everybody");"#,
    );
    assert_eq!(who(&[Controller, Subject]).told(&authority, GIVE).answer, Answer::Own);
    let controller = who(&[Controller]).told(&authority, GIVE);
    assert_eq!(
        (controller.answer, controller.names().as_str()),
        (refused(Refusal::PolicyDenied), "house.own-only")
    );
}

#[test]
fn who_is_refused_anyway_is_told_the_reason_of_old() {
    let authority = with(
        r#"@id("house.closed") forbid (principal, action in Portal::Action::"consent.decide", resource);"#,
    );
    let decision = who(&[Auditor]).told(&authority, GIVE);
    assert_eq!(
        (decision.answer, decision.names().as_str()),
        (refused(Refusal::RoleNotAllowed), "house.closed")
    );
    assert_eq!(told(&authority, &nobody(GIVE)).answer, refused(Refusal::TokenMissing));
    let client = who(&[Subject]).through(&[]).told(&authority, GIVE);
    assert_eq!(
        (client.answer, client.names().as_str()),
        (refused(Refusal::ScopeMissing), "house.closed portal.scopes")
    );
    assert_eq!(who(&[Subject]).told(&authority, GIVE).answer, refused(Refusal::PolicyDenied));
}

#[test]
fn a_permit_of_an_operator_widens() {
    let authority = with(
        r#"@id("house.auditors-list") permit (
            principal in Portal::Role::"auditor", action in Portal::Action::"subject.list",
            resource == Portal::Records::"everybody");"#,
    );
    let decision = who(&[Auditor]).told(&authority, LIST_SUBJECTS);
    assert_eq!((decision.answer, decision.names().as_str()), (Answer::Everybodys, "house.auditors-list"));
    assert_eq!(who(&[Service]).told(&authority, LIST_SUBJECTS).answer, refused(Refusal::RoleNotAllowed));
}

/// Everything is permitted to everybody: what then is still closed is what the guards close.
#[test]
fn no_permit_goes_past_the_guards() {
    let authority = with(r#"@id("house.open") permit (principal, action, resource);"#);
    let check = |question, refusal, by: &str| {
        let decision = told(&authority, &question);
        assert_eq!((decision.answer, decision.names().as_str()), (refused(refusal), by), "{question:?}");
    };
    check(nobody(GIVE), Refusal::TokenMissing, "portal.guard.anonymous");
    check(process(Workload::Valuation, GIVE), Refusal::WorkloadNotAllowed, "portal.guard.workloads");
    // Of the mesh's own questions each process asks those that it needs.
    let exchange = "/portal.auth.v1.TokenService/ExchangeToken";
    check(process(Workload::Valuation, exchange), Refusal::WorkloadNotAllowed, "portal.guard.workloads");
    let follow = "/portal.consent.v1.ConsentChangeService/WatchConsentChanges";
    check(process(Workload::Gateway, follow), Refusal::WorkloadNotAllowed, "portal.guard.workloads");
    // Other people's accounts: only the caller's own is left.
    for method in [
        "AccountService/GetAccount",
        "AccountService/UpdateAccount",
        "AccountService/DeleteAccount",
        "SessionService/ListSessions",
        "SessionService/RevokeSession",
        "SessionService/RevokeAllSessions",
    ] {
        let method = format!("/portal.auth.v1.{method}");
        assert_eq!(who(&[Officer, Subject]).told(&authority, &method).answer, Answer::Own, "{method}");
        assert_eq!(who(&[Operator]).told(&authority, &method).answer, Answer::Everybodys, "{method}");
    }
    let audit = "/portal.auth.v1.AuditService/ListAuditEvents";
    let controller = who(&[Controller, Subject]);
    check(controller.asks(audit), Refusal::RoleNotAllowed, "portal.guard.audit portal.guard.own");
    let officer = who(&[Officer, Subject]);
    let operators = "portal.guard.operation portal.guard.own";
    check(officer.asks(ROTATE_KEYS), Refusal::RoleNotAllowed, operators);
    check(officer.asks("/portal.auth.v1.AccountService/SetRoles"), Refusal::RoleNotAllowed, operators);
    let mesh = "portal.guard.mesh portal.guard.own";
    check(officer.asks("/portal.auth.v1.TokenService/ExchangeToken"), Refusal::RoleNotAllowed, mesh);
    let client = who(&[Subject]).through(&[Scope::ConsentRead]);
    check(client.asks(GIVE), Refusal::ScopeMissing, "portal.scopes");
    // One's own password, and never somebody else's.
    let password = "/portal.auth.v1.AccountService/ChangePassword";
    assert_eq!(officer.told(&authority, password).answer, Answer::Own);
    // What has no answer about one's own records is everybody's or nothing.
    assert_eq!(officer.told(&authority, LIST_SUBJECTS).answer, Answer::Everybodys);
    let own = with(r#"@id("house.own") permit (principal, action, resource == Portal::Records::"own");"#);
    assert_eq!(who(&[Subject]).told(&own, LIST_SUBJECTS).answer, refused(Refusal::RoleNotAllowed));
}

#[test]
fn a_policy_that_cant_be_evaluated_refuses() {
    // Cedar skips what fails: this forbid would be as if it were not there.
    let overflows = r#"@id("house.overflows")
        forbid (principal, action in Portal::Action::"consent.decide", resource)
        when { context has proof && context.proof.age * 9223372036854775807 > 0 };"#;
    let authority = with(overflows);
    let decision = who(&[Subject]).proven(Acr::Mfa, 2).told(&authority, GIVE);
    assert_eq!(decision.answer, refused(Refusal::PolicyDenied));
    assert_eq!(decision.failed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["house.overflows"]);
    assert_eq!(
        who(&[Subject]).told(&authority, GIVE).answer,
        Answer::Own,
        "it does not fail without a proof"
    );
    let permit = overflows.replace("forbid", "permit");
    let decision = who(&[Subject]).proven(Acr::Mfa, 2).told(&with(&permit), GIVE);
    assert_eq!(
        decision.answer,
        refused(Refusal::PolicyDenied),
        "nor does a permit that fails let anybody in"
    );
}

/// Who is let in to their own is not kept from everybody's in silence.
#[test]
fn what_narrows_is_named() {
    let narrows = r#"@id("house.own-only") forbid (principal in Portal::Role::"controller",
        action in Portal::Action::"consent.decide", resource == Portal::Records::"everybody");"#;
    let both = || who(&[Controller, Subject]);
    let names =
        |policies: &[portal_authz::PolicyName]| policies.iter().map(ToString::to_string).collect::<Vec<_>>();
    let decision = both().told(&with(narrows), GIVE);
    assert_eq!((decision.answer, decision.names().as_str()), (Answer::Own, "portal.consent.own"));
    assert_eq!(
        (names(&decision.narrowed_by), names(&decision.failed)),
        (vec!["house.own-only".to_owned()], vec![])
    );
    let fails =
        narrows.replace(");", ") when { context has proof && context.proof.age * 9223372036854775807 > 0 };");
    let decision = both().proven(Acr::Mfa, 2).told(&with(&fails), GIVE);
    assert_eq!((decision.answer, decision.names().as_str()), (Answer::Own, "portal.consent.own"));
    assert_eq!(
        (names(&decision.narrowed_by), names(&decision.failed)),
        (vec![], vec!["house.own-only".to_owned()])
    );
}

#[test]
fn what_looks_closer_is_decided_for_each_question() {
    let authority = with(
        r#"@id("house.office") forbid (principal in Portal::Role::"operator", action, resource)
            unless { context has address && context.address.isInRange(ip("10.0.0.0/8")) };
        @id("house.fresh") forbid (principal in Portal::Role::"controller", action, resource)
            unless { context has proof && context.proof.acr == Portal::Acr::"passkey" && context.proof.age < 60 };
        @id("house.one") forbid (principal == Portal::Account::"01010101-0101-0101-0101-010101010101", action, resource);
        @id("house.client") forbid (principal, action, resource)
            when { context has client && context.client.id == Portal::Client::"09090909-0909-0909-0909-090909090909" };"#,
    );
    let answer = |who: crate::who::Who, method| who.told(&authority, method).names();
    let operator = || who(&[Operator]);
    assert_eq!(answer(operator(), ROTATE_KEYS), "house.office");
    assert_eq!(answer(operator().at("10.1.2.3"), ROTATE_KEYS), "portal.account.operator");
    assert_eq!(answer(operator().at("192.0.2.1"), ROTATE_KEYS), "house.office");
    assert_eq!(answer(operator().at("::1"), ROTATE_KEYS), "house.office");
    assert_eq!(answer(who(&[Controller]).proven(Acr::Passkey, 59), GIVE), "portal.consent.record");
    assert_eq!(answer(who(&[Controller]).proven(Acr::Passkey, 60), GIVE), "house.fresh");
    assert_eq!(answer(who(&[Controller]).proven(Acr::Mfa, 1), GIVE), "house.fresh");
    let mut one = who(&[Subject]);
    assert_eq!(answer(one.clone(), GIVE), "portal.consent.own");
    one.account = 1;
    assert_eq!(answer(one, GIVE), "house.one");
    assert_eq!(answer(who(&[Subject]).through(&[Scope::ConsentRecord]), GIVE), "house.client");
}

#[test]
fn what_does_not_look_closer_is_remembered() {
    let authority = with(
        r#"@id("house.scopes") forbid (principal, action in Portal::Action::"consent.decide", resource)
            when { context has client && context.client.scopes.contains(Portal::Scope::"email") };
        @id("house.roles") forbid (principal, action in Portal::Action::"consent.decide", resource)
            when { principal in Portal::Role::"auditor" && context.workload == Portal::Workload::"gateway" };"#,
    );
    // The same decision, not an equal one: it was made once.
    let (here, there) = (who(&[Subject]).at("10.0.0.1"), who(&[Subject]).at("10.0.0.2"));
    let (first, second) = (authority.decide(&here.asks(GIVE)), authority.decide(&there.asks(GIVE)));
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    let record = [Scope::ConsentRecord];
    assert_eq!(who(&[Subject]).through(&record).told(&authority, GIVE).names(), "portal.consent.own");
    let more = [Scope::ConsentRecord, Scope::Email];
    assert_eq!(who(&[Subject]).through(&more).told(&authority, GIVE).names(), "house.scopes");
    assert_eq!(who(&[Subject, Auditor]).told(&authority, GIVE).names(), "house.roles");
    assert_eq!(who(&[Subject]).told(&authority, GIVE).names(), "portal.consent.own");
}

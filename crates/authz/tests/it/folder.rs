//! Which policies of operators are taken.

use portal_authz::Source;

use crate::{faults, source};

/// What is told of one file.
fn check(text: &str, expect: &[(usize, &str)]) {
    let faults = faults(&[source("house.cedar", text)]);
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), expect.len(), "{told:#?}");
    for (fault, (line, part)) in faults.iter().zip(expect) {
        let text = fault.to_string();
        assert!(text.starts_with(&format!("house.cedar:{line}: ")), "{text}");
        assert!(text.contains(part), "{text}");
        assert!(!fault.remedy.is_empty());
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_to_do() {
    check("@id(\"a\") forbid (principal, action, resource);", &[]);
    check("\n\npermit (principal, action, resource);", &[(3, "without a name")]);
    check("// why\n@id(\"A b\")\npermit (principal, action, resource);", &[(2, "a name that is none")]);
    check("@id(\"portal.mine\")\npermit (principal, action, resource);", &[(1, "is Portal's")]);
    check("@id(\"a\") permit (principal, action, resource);\n@id(\"b\")\npermit (", &[(3, "unexpected end")]);
    check("// nothing", &[(1, "holds no policy")]);
    check("@id(\"a\") permit (principal == ?principal, action, resource);", &[(1, "template")]);
}

#[test]
fn words_that_the_schema_does_not_have_are_refused() {
    let forbid =
        |when: &str| format!("@id(\"a\")\nforbid (principal, action, resource)\nwhen {{\n{when}\n}};");
    for (when, line, part) in [
        ("principal in Portal::Role::\"controler\"", 4, "controler"),
        ("action in Portal::Action::\"consent.decides\"", 4, "consent.decides"),
        ("resource == Portal::Records::\"mine\"", 4, "mine"),
        ("context.client.scopes.isEmpty()", 4, "client"),
        ("context.adress == ip(\"::1\")", 4, "adress"),
        ("context has address && context.address.isInRange(ip(\"10.0.0.0/99\"))", 4, "10.0.0.0/99"),
        ("principal is Portal::Account && principal is Portal::Client", 1, "impossible"),
    ] {
        let faults = faults(&[source("house.cedar", &forbid(when))]);
        assert!(!faults.is_empty(), "{when} is taken");
        let first = faults[0].to_string();
        assert!(first.contains(part), "{when}: {first}");
        assert_eq!(faults[0].line, line, "{first}");
    }
}

#[test]
fn names_are_told_once_among_all_files() {
    let one = |name: &str| source(name, "@id(\"a\") forbid (principal, action, resource);");
    let faults = faults(&[one("1.cedar"), one("2.cedar")]);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].problem.contains("2 policies have the name a (1.cedar, 2.cedar)"), "{}", faults[0]);
}

#[test]
fn every_file_is_told_of() {
    let bad = |name: &str| source(name, "permit (");
    let files: Vec<Source> = ["1.cedar", "2.cedar"].map(bad).into();
    let named: Vec<_> = faults(&files).into_iter().map(|fault| fault.file).collect();
    assert_eq!(named, ["1.cedar", "2.cedar"]);
}

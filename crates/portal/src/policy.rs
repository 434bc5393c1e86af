//! `portal policy`: which policies are in force, what they decide, and why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use portal_authz::policies::SCHEMA;
use portal_authz::{Answer, Authority, Decision, PolicyName, Principal, Proof, Question};
use portal_core::id::{AccountId, ClientId, Id};
use portal_core::{Acr, Role, Scope, Workload};
use portal_mesh::authorization;
use portal_mesh::config::AuthorizationConfig;
use portal_mesh::policy::row;
use serde::Deserialize;

use crate::cli::{ExplainOptions, InForce, PolicyCommand};
use crate::config::{self, Unusable};
use crate::output;

pub fn run(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check { folder } => check(folder),
        PolicyCommand::Explain(options) => return explain(options),
        PolicyCommand::List(in_force) => list(in_force),
        PolicyCommand::Schema => {
            output::line(SCHEMA.trim_end());
            Ok(())
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn check(folder: &Path) -> anyhow::Result<()> {
    let authority = of_folder(Some(folder.to_owned()))?;
    let theirs = authority.policies().filter(|policy| !policy.name.is_ours()).count();
    output::line(&format!("{}: usable, {theirs} policies", folder.display()));
    Ok(())
}

fn list(in_force: &InForce) -> anyhow::Result<()> {
    let authority = in_force.authority()?;
    let rows = authority
        .policies()
        .map(|policy| [policy.name.to_string(), policy.effect.to_owned(), whose(policy.name, policy.file)]);
    let head = ["policy", "effect", "from"].map(str::to_owned);
    output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    Ok(())
}

fn whose(name: &PolicyName, file: &str) -> String {
    if name.is_ours() { format!("Portal, {file}") } else { file.to_owned() }
}

fn explain(options: &ExplainOptions) -> anyhow::Result<ExitCode> {
    let authority = options.in_force.authority()?;
    let method = format!("/{}", options.method.trim_start_matches('/'));
    if !authority.methods().any(|known| known == method) {
        return Err(Unusable::one(format!("no service has a method {}", options.method)).into());
    }
    let roles = options.roles();
    let scopes: BTreeSet<Scope> = options.scope.iter().copied().collect();
    let question = options.question(&method, &roles, &scopes);
    let decision = authority.decide_anew(&question);
    let (told, code) = match decision.answer {
        Answer::Everybodys => ("permitted: everybody's records".to_owned(), 0),
        Answer::Own => ("permitted: the caller's own records".to_owned(), 0),
        Answer::Refused(refusal) => (format!("refused: {}", refusal.reason()), 1),
    };
    output::line(&told);
    tell(&authority, &decision);
    if let (0, Some(age)) = (code, step_up(&method)) {
        let seconds = age.as_secs();
        output::line(&format!(
            "\nBesides, a person must have proven who they are in the last {seconds} seconds."
        ));
    }
    Ok(ExitCode::from(code))
}

/// The policies that made `decision`.
fn tell(authority: &Authority, decision: &Decision) {
    if decision.policies.is_empty() && decision.failed.is_empty() {
        output::line("\nNo policy permits it.");
    }
    for policy in authority.policies() {
        let (name, file, text) = (policy.name, policy.file, policy.text);
        if decision.failed.contains(name) {
            output::line(&format!(
                "\n{name} ({}) can't be evaluated, and refuses:\n{text}",
                whose(name, file)
            ));
        } else if decision.narrowed_by.contains(name) {
            output::line(&format!(
                "\n{name} ({}) keeps everybody's records closed:\n{text}",
                whose(name, file)
            ));
        } else if decision.policies.contains(name) {
            output::line(&format!("\n{name} ({}):\n{text}", whose(name, file)));
        }
    }
}

/// What the policy row of `method` asks of a person besides.
fn step_up(method: &str) -> Option<Duration> {
    let tables = [portal_auth::policy(), portal_consent::policy(), portal_valuation::policy()];
    tables.into_iter().find_map(|table| row(table, method)).and_then(portal_mesh::Row::step_up_age)
}

/// The one section that is read of a service's configuration.
#[derive(Deserialize)]
struct Section {
    #[serde(default)]
    authorization: AuthorizationConfig,
}

impl InForce {
    fn authority(&self) -> anyhow::Result<Authority> {
        let folder = match &self.config {
            Some(file) => config::load::<Section>(file, &config::environment())?.authorization.policies,
            None => self.policies.clone(),
        };
        of_folder(folder)
    }
}

fn of_folder(policies: Option<PathBuf>) -> anyhow::Result<Authority> {
    let authority = authorization::authority(&AuthorizationConfig { policies });
    Ok(authority.map_err(|error| Unusable::one(error.to_string()))?)
}

impl ExplainOptions {
    fn through_client(&self) -> bool {
        self.itself || self.client.is_some() || !self.scope.is_empty()
    }

    fn roles(&self) -> BTreeSet<Role> {
        if self.itself {
            return [Role::Service].into();
        }
        // Whatever office its person has: a client acts for the person alone.
        if self.through_client() {
            return [Role::Subject].into();
        }
        self.role.iter().copied().collect()
    }

    fn question<'a>(
        &self,
        method: &'a str,
        roles: &'a BTreeSet<Role>,
        scopes: &'a BTreeSet<Scope>,
    ) -> Question<'a> {
        let nil = [0; 16];
        let account = self.account.unwrap_or_else(|| AccountId::from_bytes(nil));
        let client = self.client.unwrap_or_else(|| ClientId::from_bytes(nil));
        let through_client = self.through_client();
        let principal = match self.workload {
            Some(workload) => Principal::Workload(workload),
            None if self.itself => Principal::Client(client, roles),
            None if self.account.is_some() || through_client || !roles.is_empty() => {
                Principal::Account(account, roles)
            }
            None => Principal::Anonymous,
        };
        let age = Duration::from_secs(self.age);
        // Who signed in has proven who they are, by a password at least.
        let is_person = matches!(principal, Principal::Account(..));
        let acr = self.acr.unwrap_or(Acr::Password);
        let proof = is_person.then_some(Proof { acr, second_factor: self.second_factor, age });
        Question {
            method,
            principal,
            workload: self.workload.unwrap_or(Workload::Gateway),
            client: through_client.then_some((client, scopes)),
            proof,
            address: self.address,
        }
    }
}

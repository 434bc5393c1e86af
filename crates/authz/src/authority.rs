//! Decides by the policies, and remembers what it decided.
//!
//! A question is put to Cedar twice at most: may the caller reach everybody's records? If not, its own? Of the policies only
//! those are asked whose actions can be the method: the others can neither hold nor fail.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Context, Decision as Says, Effect, Entities, Entity,
    EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request, RestrictedExpression, Schema,
};

use crate::decision::{Answer, Decision, PolicyName, Refusal};
use crate::policies::{self, Fault, Faults, Named, Source, Whose};
use crate::question::{Key, Principal, Question};

/// Decisions that are remembered; with more, all are forgotten. Kinds of callers are few: roles and scopes that occur
/// together, for each method.
const MOST_REMEMBERED: usize = 16_384;

/// The policies in force, and what they decided.
pub struct Authority {
    methods: HashMap<String, Method>,
    policies: Vec<Named>,
    authorizer: Authorizer,
    remembered: RwLock<HashMap<Key, Arc<Decision>>>,
}

/// A policy that is in force.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    /// Its name.
    pub name: &'a PolicyName,
    /// The file that it is in.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
    /// `forbid` or `permit`.
    pub effect: &'static str,
}

/// A method, and the policies that may be about it.
struct Method {
    index: u16,
    action: Entity,
    all: PolicySet,
    ours: PolicySet,
    /// Whether a policy looks at what a remembered decision is not remembered by.
    closely: bool,
}

/// What the policies say of one question.
enum Settled {
    Permitted(Decision),
    Refused { forbids: Vec<PolicyName>, failed: Vec<PolicyName> },
}

impl Authority {
    /// Portal's policies and those of `operators`.
    ///
    /// # Errors
    /// [`Faults`] with everything that is wrong with the policies.
    pub fn new(operators: &[Source]) -> Result<Self, Faults> {
        let ours = policies::OURS.map(|(name, text)| Source { name: name.to_owned(), text: text.to_owned() });
        Self::of(&ours, operators)
    }

    /// Policies of one's own in the place of Portal's, and those of `operators`: for tests of what asks.
    ///
    /// # Errors
    /// [`Faults`] with everything that is wrong with the policies.
    pub fn of(ours: &[Source], operators: &[Source]) -> Result<Self, Faults> {
        let (schema, _) =
            Schema::from_cedarschema_str(policies::SCHEMA).map_err(|error| in_schema(&error))?;
        let mut policies = policies::read(ours, Whose::Ours, &schema)?;
        policies.extend(policies::read(operators, Whose::Operators, &schema)?);
        let hierarchy = schema.action_entities().map_err(|error| in_schema(&error))?;
        let groups: HashSet<&EntityUid> = schema.action_groups().collect();
        let leaves = schema.actions().filter(|uid| !groups.contains(uid));
        let methods = leaves.zip(0..).map(|(uid, index)| {
            let method = Method::of(uid, index, &policies, &hierarchy)?;
            Ok((format!("/{}", uid.id().unescaped()), method))
        });
        let methods = methods.collect::<Result<_, Faults>>()?;
        Ok(Self { methods, policies, authorizer: Authorizer::new(), remembered: RwLock::default() })
    }

    /// Every policy in force, Portal's first.
    pub fn policies(&self) -> impl Iterator<Item = InForce<'_>> {
        self.policies.iter().map(|named| InForce {
            name: &named.name,
            file: &named.file,
            text: &named.text,
            effect: match named.policy.effect() {
                Effect::Forbid => "forbid",
                Effect::Permit => "permit",
            },
        })
    }

    /// The methods that the schema knows, as gRPC paths.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.methods.keys().map(String::as_str)
    }

    /// Decides.
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Arc<Decision> {
        let Some(method) = self.methods.get(question.method) else {
            return Arc::new(refused(Refusal::Unknown, Vec::new(), Vec::new()));
        };
        if method.closely {
            return Arc::new(self.evaluate(method, question));
        }
        let key = Key::of(method.index, question);
        if let Some(known) = self.remembered.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(known);
        }
        let decision = Arc::new(self.evaluate(method, question));
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, Arc::clone(&decision));
        decision
    }

    /// Decides by the policies themselves, whatever is remembered.
    #[must_use]
    pub fn decide_anew(&self, question: &Question<'_>) -> Decision {
        match self.methods.get(question.method) {
            Some(method) => self.evaluate(method, question),
            None => refused(Refusal::Unknown, Vec::new(), Vec::new()),
        }
    }

    fn evaluate(&self, method: &Method, question: &Question<'_>) -> Decision {
        let (forbids, failed) = match self.settle(method, &method.all, question) {
            Settled::Permitted(decision) => return decision,
            Settled::Refused { forbids, failed } => (forbids, failed),
        };
        // Who would be refused without them learns nothing of the operators' policies.
        let theirs: Vec<_> = forbids.iter().filter(|name| !name.is_ours()).cloned().collect();
        if (!theirs.is_empty() || !failed.is_empty())
            && matches!(self.settle(method, &method.ours, question), Settled::Permitted(..))
        {
            return refused(Refusal::PolicyDenied, theirs, failed);
        }
        let refusal = if forbids.iter().any(|name| method.says_scope_missing(name)) {
            Refusal::ScopeMissing
        } else {
            match question.principal {
                Principal::Anonymous => Refusal::TokenMissing,
                Principal::Workload(_) => Refusal::WorkloadNotAllowed,
                Principal::Account(..) | Principal::Client(..) => Refusal::RoleNotAllowed,
            }
        };
        refused(refusal, forbids, failed)
    }

    /// Puts the question to `policies`, for everybody's records and then for one's own.
    fn settle(&self, method: &Method, policies: &PolicySet, question: &Question<'_>) -> Settled {
        let (mut forbids, mut failed) = (BTreeSet::new(), BTreeSet::new());
        // Who is nobody, or a process, has no records.
        let has_own = matches!(question.principal, Principal::Account(..) | Principal::Client(..));
        let asked = [("everybody", Answer::Everybodys), ("own", Answer::Own)];
        for (records, answer) in asked.into_iter().take(if has_own { 2 } else { 1 }) {
            let Some((request, entities)) = cedar_request(method, question, records) else {
                return Settled::Refused { forbids: Vec::new(), failed: Vec::new() };
            };
            let response = self.authorizer.is_authorized(&request, policies, &entities);
            let diagnostics = response.diagnostics();
            let errors = diagnostics
                .errors()
                .filter_map(|AuthorizationError::PolicyEvaluationError(error)| name(error.policy_id()));
            let by = diagnostics.reason().filter_map(name);
            match response.decision() {
                Says::Allow if diagnostics.errors().next().is_none() => {
                    forbids.retain(|name: &PolicyName| !name.is_ours());
                    return Settled::Permitted(Decision {
                        answer,
                        policies: by.collect::<BTreeSet<_>>().into_iter().collect(),
                        narrowed_by: forbids.into_iter().collect(),
                        failed: failed.into_iter().collect(),
                    });
                }
                Says::Allow => {}
                Says::Deny => forbids.extend(by),
            }
            failed.extend(errors);
        }
        Settled::Refused { forbids: forbids.into_iter().collect(), failed: failed.into_iter().collect() }
    }
}

impl Method {
    fn of(uid: &EntityUid, index: u16, policies: &[Named], hierarchy: &Entities) -> Result<Self, Faults> {
        let groups: HashSet<EntityUid> = hierarchy.ancestors(uid).into_iter().flatten().cloned().collect();
        let about = |policy: &Policy| match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(action) => action == *uid || groups.contains(&action),
            ActionConstraint::In(actions) => {
                actions.iter().any(|action| action == uid || groups.contains(action))
            }
        };
        let about: Vec<&Named> = policies.iter().filter(|named| about(&named.policy)).collect();
        let set = |wanted: &dyn Fn(&Named) -> bool| {
            let policies = about.iter().filter(|named| wanted(named)).map(|named| named.policy.clone());
            PolicySet::from_policies(policies).map_err(|error| in_schema(&error))
        };
        Ok(Self {
            index,
            all: set(&|_| true)?,
            ours: set(&|named| named.name.is_ours())?,
            closely: about.iter().any(|named| named.closely),
            action: Entity::new_no_attrs(uid.clone(), groups),
        })
    }

    fn says_scope_missing(&self, name: &PolicyName) -> bool {
        let policy = self.ours.policy(&PolicyId::new(name.as_str()));
        policy.is_some_and(|policy| {
            policy.effect() == Effect::Forbid && policy.annotation("reason") == Some("SCOPE_MISSING")
        })
    }
}

fn refused(refusal: Refusal, policies: Vec<PolicyName>, failed: Vec<PolicyName>) -> Decision {
    Decision { answer: Answer::Refused(refusal), policies, narrowed_by: Vec::new(), failed }
}

fn name(id: &PolicyId) -> Option<PolicyName> {
    PolicyName::parse(id.as_ref())
}

fn in_schema(error: &dyn std::error::Error) -> Faults {
    Faults(vec![Fault {
        file: "portal.cedarschema".to_owned(),
        line: 1,
        problem: error.to_string(),
        remedy: "it is part of the program: report this".to_owned(),
    }])
}

/// The question in Cedar's terms. `None` can't be: what is asked consists of the words of the schema.
fn cedar_request(method: &Method, question: &Question<'_>, records: &str) -> Option<(Request, Entities)> {
    let (principal, roles) = match question.principal {
        Principal::Account(id, roles) => (uid("Account", &id.to_string())?, Some(roles)),
        Principal::Anonymous => (uid("Anonymous", "anybody")?, None),
        Principal::Client(id, roles) => (uid("Client", &id.to_string())?, Some(roles)),
        Principal::Workload(workload) => (uid("Workload", workload.name())?, None),
    };
    let roles = roles.into_iter().flatten().map(|role| uid("Role", role.name()));
    let caller = Entity::new_no_attrs(principal.clone(), roles.collect::<Option<_>>()?);
    let entities = Entities::from_entities([method.action.clone(), caller], None).ok()?;
    let resource = uid("Records", records)?;
    let request = Request::new(principal, method.action.uid(), resource, context(question)?, None).ok()?;
    Some((request, entities))
}

fn context(question: &Question<'_>) -> Option<Context> {
    let entity = |kind: &str, id: &str| Some(RestrictedExpression::new_entity_uid(uid(kind, id)?));
    let record = |members: Vec<(&str, RestrictedExpression)>| {
        RestrictedExpression::new_record(members.into_iter().map(|(name, value)| (name.to_owned(), value)))
            .ok()
    };
    let mut members = vec![("workload".to_owned(), entity("Workload", question.workload.name())?)];
    if let Some(address) = question.address {
        members
            .push(("address".to_owned(), RestrictedExpression::new_ip(address.to_canonical().to_string())));
    }
    if let Some((id, scopes)) = question.client {
        let scopes = scopes.iter().map(|scope| entity("Scope", scope.name())).collect::<Option<Vec<_>>>()?;
        let client = vec![
            ("id", entity("Client", &id.to_string())?),
            ("scopes", RestrictedExpression::new_set(scopes)),
        ];
        members.push(("client".to_owned(), record(client)?));
    }
    if let Some(proof) = question.proof {
        let age = i64::try_from(proof.age.as_secs()).unwrap_or(i64::MAX);
        let proof = vec![
            ("acr", entity("Acr", proof.acr.name())?),
            ("second_factor", RestrictedExpression::new_bool(proof.second_factor)),
            ("age", RestrictedExpression::new_long(age)),
        ];
        members.push(("proof".to_owned(), record(proof)?));
    }
    Context::from_pairs(members).ok()
}

fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    let kind: EntityTypeName = format!("Portal::{kind}").parse().ok()?;
    Some(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

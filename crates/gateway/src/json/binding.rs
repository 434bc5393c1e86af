//! The `google.api.http` rules out of the descriptors.

use http::Method;
use portal_proto::google::api::HttpRule;
use portal_proto::google::api::http_rule::Pattern;
use prost_reflect::{
    DescriptorPool, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

use super::template::{InvalidTemplate, Template};
use crate::forward::Target;
use crate::service::StartError;

/// One HTTP method and path of one rpc.
pub(crate) struct Binding {
    pub(crate) method: Method,
    pub(crate) template: Template,
    /// The gRPC path.
    pub(crate) rpc: String,
    pub(crate) input: MessageDescriptor,
    pub(crate) output: MessageDescriptor,
    pub(crate) body: BodyRule,
    /// The field of the answer that is its body; the whole answer if `None`.
    pub(crate) response_body: Option<String>,
    pub(crate) streaming: bool,
}

/// What the body holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum BodyRule {
    /// One message field of the request.
    Field(FieldDescriptor),
    /// Nothing.
    None,
    /// The request, but for what the path gives.
    Whole,
}

/// The bindings of every method that a service behind the gateway serves.
pub(crate) fn read(pool: &DescriptorPool) -> Result<Vec<Binding>, StartError> {
    let Some(extension) = pool.get_extension_by_name("google.api.http") else { return Ok(Vec::new()) };
    let mut bindings = Vec::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        if Target::of(&path).is_none() || method.is_client_streaming() {
            continue;
        }
        let Some(rule) = rule(&method, &extension) else { continue };
        for rule in std::iter::once(&rule).chain(&rule.additional_bindings) {
            let binding = binding(&method, rule, &path)
                .map_err(|source| StartError::Rule { method: path.clone(), source })?;
            bindings.push(binding);
        }
    }
    bindings.sort_by(|one, other| one.template.cmp(&other.template));
    Ok(bindings)
}

fn rule(method: &MethodDescriptor, extension: &ExtensionDescriptor) -> Option<HttpRule> {
    let options = method.options();
    match options.get_extension(extension).as_ref() {
        Value::Message(rule) if options.has_extension(extension) => rule.transcode_to().ok(),
        _ => None,
    }
}

fn binding(method: &MethodDescriptor, rule: &HttpRule, rpc: &str) -> Result<Binding, InvalidTemplate> {
    let unusable = || InvalidTemplate(format!("{:?}", rule.pattern));
    let (http_method, path) = match rule.pattern.as_ref().ok_or_else(unusable)? {
        Pattern::Get(path) => (Method::GET, path),
        Pattern::Put(path) => (Method::PUT, path),
        Pattern::Post(path) => (Method::POST, path),
        Pattern::Delete(path) => (Method::DELETE, path),
        Pattern::Patch(path) => (Method::PATCH, path),
        Pattern::Custom(_) => return Err(unusable()),
    };
    let input = method.input();
    let body = match rule.body.as_str() {
        "" => BodyRule::None,
        "*" => BodyRule::Whole,
        name => {
            let field =
                input.get_field_by_name(name).filter(|field| matches!(field.kind(), Kind::Message(_)));
            BodyRule::Field(field.filter(|field| !field.is_list() && !field.is_map()).ok_or_else(unusable)?)
        }
    };
    Ok(Binding {
        method: http_method,
        template: Template::parse(path)?,
        rpc: rpc.to_owned(),
        body,
        output: method.output(),
        response_body: Some(rule.response_body.clone()).filter(|field| !field.is_empty()),
        streaming: method.is_server_streaming(),
        input,
    })
}

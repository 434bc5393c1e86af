//! `Debug` for messages with fields marked `[debug_redact = true]` in the proto: they print as
//! `[redacted]`, so that no log line and no panic message can show a password or what a person said.
//!
//! A marked message may not declare messages inside itself: prost drops the derived `Debug` of
//! everything nested in a message at once.

use anyhow::{Result, ensure};
use prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor, OneofDescriptor};

/// A message whose derived `Debug` is replaced.
pub struct Redacted {
    message: MessageDescriptor,
}

impl Redacted {
    /// The proto path by which prost leaves out the derived `Debug`.
    #[must_use]
    pub fn path(&self) -> String {
        format!(".{}", self.message.full_name())
    }

    /// The generated file that the implementation belongs to.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.rs", self.message.parent_file().package_name())
    }

    /// The replacing implementations: of the message, its oneofs and its enums.
    #[must_use]
    pub fn code(&self) -> String {
        let message = &self.message;
        let module = snake_case(message.name());
        let mut body = format!("f.debug_struct(\"{}\")\n", message.name());
        for field in message.fields().filter(|field| real_oneof(field).is_none()) {
            let name = field.name();
            let value =
                if is_marked(&field) { REDACTED.to_owned() } else { format!("&self.{}", identifier(name)) };
            body.push_str(&format!("            .field(\"{name}\", {value})\n"));
        }
        let oneofs: Vec<_> = message.oneofs().filter(|oneof| !oneof.is_synthetic()).collect();
        for oneof in &oneofs {
            let name = oneof.name();
            body.push_str(&format!("            .field(\"{name}\", &self.{name})\n"));
        }
        body.push_str("            .finish()");
        let mut code = implementation(message.name(), &body);
        for oneof in &oneofs {
            code.push_str(&oneof_code(&module, oneof));
        }
        for nested in message.child_enums() {
            let name = format!("{module}::{}", nested.name());
            code.push_str(&implementation(&name, "f.write_str(self.as_str_name())"));
        }
        code
    }
}

/// All messages of `pool` with a marked field.
///
/// # Errors
/// A marked message that declares messages inside itself.
pub fn find(pool: &DescriptorPool) -> Result<Vec<Redacted>> {
    let marked = pool.all_messages().filter(|message| message.fields().any(|field| is_marked(&field)));
    marked
        .map(|message| {
            let plain = message.parent_message().is_none() && message.child_messages().next().is_none();
            ensure!(plain, "{}: debug_redact with nested messages", message.full_name());
            Ok(Redacted { message })
        })
        .collect()
}

const REDACTED: &str = "&::core::format_args!(\"[redacted]\")";

fn is_marked(field: &FieldDescriptor) -> bool {
    let options = field.options();
    options.get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

/// The oneof a field is written in; `optional` makes one that nobody wrote.
fn real_oneof(field: &FieldDescriptor) -> Option<OneofDescriptor> {
    field.containing_oneof().filter(|oneof| !oneof.is_synthetic())
}

fn oneof_code(module: &str, oneof: &OneofDescriptor) -> String {
    let mut body = "match self {\n".to_owned();
    for field in oneof.fields() {
        let variant = camel_case(field.name());
        let arm = if is_marked(&field) {
            format!("Self::{variant}(_) => f.write_str(\"{variant}([redacted])\")")
        } else {
            format!("Self::{variant}(value) => f.debug_tuple(\"{variant}\").field(value).finish()")
        };
        body.push_str(&format!("            {arm},\n"));
    }
    body.push_str("        }");
    implementation(&format!("{module}::{}", camel_case(oneof.name())), &body)
}

fn implementation(name: &str, body: &str) -> String {
    format!(
        "impl ::core::fmt::Debug for {name} {{\n    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> \
         ::core::fmt::Result {{\n        {body}\n    }}\n}}\n"
    )
}

/// As prost names a field whose name is a keyword of Rust.
fn identifier(field: &str) -> String {
    const KEYWORDS: &[&str] =
        &["as", "box", "enum", "for", "in", "loop", "match", "mod", "ref", "type", "use", "where"];
    if KEYWORDS.contains(&field) { format!("r#{field}") } else { field.to_owned() }
}

/// As prost names the module of a message.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// As prost names a oneof and its variants.
fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        })
        .collect()
}

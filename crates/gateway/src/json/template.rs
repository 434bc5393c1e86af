//! Path templates of `google.api.http`: `/v1/purposes/{purpose_id}:publish`, `/v1/{name=operations/**}`.

use percent_encoding::percent_decode_str;

/// A path template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    segments: Vec<Segment>,
    verb: Option<String>,
    variables: Vec<Variable>,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Segment {
    // In the order in which they are tried: a literal before a variable, one segment before many.
    Literal(String),
    One,
    Rest,
}

#[derive(Clone, Debug)]
struct Variable {
    field: String,
    start: usize,
    end: usize,
    /// More than one segment: an escaped slash stays escaped.
    multiple: bool,
}

/// A template that can't be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the path template '{0}' can't be served")]
pub struct InvalidTemplate(pub(crate) String);

/// A request's path, cut up.
pub(crate) struct Path<'path> {
    segments: Vec<&'path str>,
    verb: Option<&'path str>,
}

impl<'path> Path<'path> {
    /// Cuts up `path`, still percent-encoded. An unescaped colon in the last segment begins the verb.
    pub(crate) fn parse(path: &'path str) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut segments: Vec<_> = path.split('/').collect();
        let mut verb = None;
        if let Some(last) = segments.last_mut()
            && let Some((rest, after)) = last.rsplit_once(':')
        {
            *last = rest;
            verb = Some(after);
        }
        Self { segments, verb }
    }
}

/// A value of a path is not UTF-8 once decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NotUtf8;

impl Template {
    /// Parses a template. A `**` must be the last segment.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let invalid = || InvalidTemplate(text.to_owned());
        let mut rest = text.strip_prefix('/').ok_or_else(invalid)?;
        let mut template = Self { segments: Vec::new(), verb: None, variables: Vec::new() };
        loop {
            let (part, after) = cut(rest).ok_or_else(invalid)?;
            template.push(part).ok_or_else(invalid)?;
            match after.split_at_checked(1) {
                None => break,
                Some(("/", next)) => rest = next,
                Some((":", verb)) if !verb.is_empty() => {
                    template.verb = Some(verb.to_owned());
                    break;
                }
                Some(_) => return Err(invalid()),
            }
        }
        let rest_at = template.segments.iter().position(|segment| *segment == Segment::Rest);
        if rest_at.is_some_and(|at| at + 1 != template.segments.len()) {
            return Err(invalid());
        }
        Ok(template)
    }

    /// Adds `*`, `**`, a literal, `{field}` or `{field=segments}`.
    fn push(&mut self, part: &str) -> Option<()> {
        let Some(variable) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            self.segments.push(segment(part)?);
            return Some(());
        };
        let (field, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
        let start = self.segments.len();
        for part in pattern.split('/') {
            self.segments.push(segment(part)?);
        }
        let end = self.segments.len();
        let multiple = end - start > 1 || self.segments.last() == Some(&Segment::Rest);
        self.variables.push(Variable { field: field.to_owned(), start, end, multiple });
        (!field.is_empty()).then_some(())
    }

    /// The fields that the path gives.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.field.as_str())
    }

    /// Whether `path` is of this template's form.
    pub(crate) fn matches(&self, path: &Path<'_>) -> bool {
        if self.verb.as_deref() != path.verb {
            return false;
        }
        let open = self.segments.last() == Some(&Segment::Rest);
        let long_enough = path.segments.len() >= self.segments.len();
        let fits = if open { long_enough } else { path.segments.len() == self.segments.len() };
        fits && self.segments.iter().zip(&path.segments).all(|(segment, given)| match segment {
            Segment::Literal(literal) => literal == given,
            Segment::One | Segment::Rest => !given.is_empty(),
        })
    }

    /// The fields and their values in a path that [`Self::matches`].
    pub(crate) fn values<'a>(&'a self, path: &Path<'_>) -> Result<Vec<(&'a str, String)>, NotUtf8> {
        let value = |variable: &'a Variable| {
            let end = if variable.end == self.segments.len() { path.segments.len() } else { variable.end };
            let raw = path.segments.get(variable.start..end).unwrap_or_default().join("/");
            Ok((variable.field.as_str(), decode(&raw, variable.multiple)?))
        };
        self.variables.iter().map(value).collect()
    }

    /// Templates are tried in this order.
    pub(crate) fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.segments.cmp(&other.segments)
    }
}

/// The first part of `text`, and what follows it: nothing, or `/` and parts, or `:` and a verb.
fn cut(text: &str) -> Option<(&str, &str)> {
    let end =
        if text.starts_with('{') { text.find('}')? + 1 } else { text.find(['/', ':']).unwrap_or(text.len()) };
    text.split_at_checked(end)
}

fn segment(text: &str) -> Option<Segment> {
    match text {
        "" => None,
        "*" => Some(Segment::One),
        "**" => Some(Segment::Rest),
        _ if text.contains(['{', '}', '*', '=']) => None,
        literal => Some(Segment::Literal(literal.to_owned())),
    }
}

fn decode(raw: &str, multiple: bool) -> Result<String, NotUtf8> {
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(NotUtf8),
    };
    if !multiple {
        return decode(raw);
    }
    // As google.api.http says: in a value of several segments `%2F` stays, since it is not a boundary of segments.
    let parts: Result<Vec<_>, _> = raw.split("%2F").flat_map(|part| part.split("%2f")).map(decode).collect();
    Ok(parts?.join("%2F"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn values(template: &str, path: &str) -> Option<Vec<(String, String)>> {
        let template = Template::parse(template).unwrap();
        let path = Path::parse(path);
        if !template.matches(&path) {
            return None;
        }
        let values = template.values(&path).unwrap();
        Some(values.into_iter().map(|(field, value)| (field.to_owned(), value)).collect())
    }

    #[test]
    fn templates_match_and_give_their_fields() {
        let check = |template: &str, path: &str, expect: Option<&[(&str, &str)]>| {
            let expect = expect.map(|fields| {
                fields.iter().map(|(f, v)| ((*f).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
            });
            assert_eq!(values(template, path), expect, "{template} {path}");
        };
        check("/v1/purposes", "/v1/purposes", Some(&[]));
        check("/v1/purposes", "/v1/purposes/", None);
        check("/v1/purposes/{purpose_id}", "/v1/purposes/7", Some(&[("purpose_id", "7")]));
        check("/v1/purposes/{purpose_id}", "/v1/purposes/", None);
        check("/v1/purposes/{purpose_id}", "/v1/purposes/a%20b%2Fc", Some(&[("purpose_id", "a b/c")]));
        check("/v1/purposes/{purpose_id}", "/v1/purposes/7:publish", None);
        check("/v1/purposes/{purpose_id}", "/v1/purposes/7%3Apublish", Some(&[("purpose_id", "7:publish")]));
        check("/v1/purposes/{purpose_id}:publish", "/v1/purposes/7:publish", Some(&[("purpose_id", "7")]));
        check("/v1/purposes/{purpose_id}:publish", "/v1/purposes/7", None);
        check("/v1/consents:give", "/v1/consents:give", Some(&[]));
        check("/v1/accounts/{account.account_id}", "/v1/accounts/7", Some(&[("account.account_id", "7")]));
        check("/v1/{name=operations}", "/v1/operations", Some(&[("name", "operations")]));
        check("/v1/{name=operations/*}", "/v1/operations/7", Some(&[("name", "operations/7")]));
        check("/v1/{name=operations/*}", "/v1/operations/7/8", None);
        check(
            "/v1/{name=operations/**}:cancel",
            "/v1/operations/7/8:cancel",
            Some(&[("name", "operations/7/8")]),
        );
        check(
            "/v1/{name=operations/**}",
            "/v1/operations/a%2fb%20c",
            Some(&[("name", "operations/a%2Fb c")]),
        );
        check("/v1/{name=operations/**}", "/v1/operations", None);
        check("/v1/{a}/x/{b}", "/v1/1/x/2", Some(&[("a", "1"), ("b", "2")]));
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        let template = Template::parse("/v1/{a}").unwrap();
        assert_eq!(template.values(&Path::parse("/v1/%ff")), Err(NotUtf8));
    }

    #[test]
    fn odd_templates_are_refused() {
        for odd in ["v1", "/", "/v1/", "/v1/{a", "/v1/{=x}", "/v1/**/x", "/v1/x:", "/v1/{a={b}}", "/v1/{a}b"]
        {
            assert!(Template::parse(odd).is_err(), "{odd}");
        }
    }
}

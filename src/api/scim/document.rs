//! Resources as documents: what a client sent, checked against the schema, and what it is answered.

use super::schema::{Attribute, COMMON, Kind, Mutability, ResourceType, find};
use crate::domain::{Error, ErrorKind, directory::is_primary};
use serde_json::{Map, Value};
use std::mem::take;

/// A resource.
pub(super) type Document = Map<String, Value>;

/// Longest text of an attribute, in bytes.
const MAX_TEXT: usize = 4096;
/// Most values of an attribute of a person.
pub(super) const MAX_VALUES: usize = 100;
/// Most bytes of a person's attributes, all together.
pub(super) const MAX_DOCUMENT: usize = 64 * 1024;

fn syntax(public: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidSyntax, public)
}

/// Reads a whole resource. What a client can't write, and what is not in the schema, is left out (RFC 7644, section 3.3).
pub(super) fn read(kind: &ResourceType, sent: &Document) -> Result<Document, Error> {
    let schemas = member(sent, "schemas").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_own = |schema: &Value| schema.as_str().is_some_and(|schema| schema.eq_ignore_ascii_case(kind.schema));
    if !schemas.iter().any(is_own) {
        return Err(syntax(format!("schemas has to name {}.", kind.schema)));
    }
    let mut document = Document::new();
    for (name, value) in sent {
        if let Some((schema, attributes)) = kind.extension.filter(|(schema, _)| schema.eq_ignore_ascii_case(name)) {
            let value = match value {
                Value::Null => continue,
                Value::Object(value) => complex(schema, attributes, value)?,
                _ => return Err(wrong(schema, "an object")),
            };
            if !value.is_empty() {
                document.insert(schema.to_owned(), value.into());
            }
        } else if let Some(attribute) = attribute(kind, name)
            && attribute.mutability != Mutability::ReadOnly
            && let Some(value) = value_of(attribute, value)?
        {
            document.insert(attribute.name.to_owned(), value);
        }
    }
    Ok(document)
}

/// A member by name, without regard to case.
pub(super) fn member<'a>(document: &'a Document, name: &str) -> Option<&'a Value> {
    document.get(name).or_else(|| document.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// An attribute of the kind itself.
pub(super) fn attribute(kind: &ResourceType, name: &str) -> Option<&'static Attribute> {
    find(COMMON, name).or_else(|| find(kind.attributes, name))
}

fn wrong(name: &str, wanted: &str) -> Error {
    Error::invalid(format!("{name} has to be {wanted}."))
}

/// The value of an attribute; none where there is none (RFC 7643, section 2.5: null and the empty list say so).
pub(super) fn value_of(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Error> {
    if !attribute.multi {
        return one(attribute, value);
    }
    let values = match value {
        Value::Null => return Ok(None),
        Value::Array(values) => values.as_slice(),
        // A single value, as some clients send it.
        single => std::slice::from_ref(single),
    };
    if values.len() > MAX_VALUES {
        return Err(Error::invalid(format!("{} has at most {MAX_VALUES} values.", attribute.name)));
    }
    let mut all = Vec::new();
    for value in values {
        all.extend(one(attribute, value)?.filter(|value| !all.contains(value)));
    }
    if all.iter().filter(|value| is_primary(value)).count() > 1 {
        return Err(Error::invalid(format!("At most one value of {} is the primary one.", attribute.name)));
    }
    Ok(if all.is_empty() { None } else { Some(all.into()) })
}

/// One value of an attribute.
pub(super) fn one(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Error> {
    let name = attribute.name;
    match (&attribute.kind, value) {
        (_, Value::Null) => Ok(None),
        (Kind::Text | Kind::Reference(_) | Kind::Instant, Value::String(text)) => {
            if text.len() > MAX_TEXT || text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
                return Err(wrong(name, &format!("a text of at most {MAX_TEXT} bytes, without control characters")));
            }
            Ok(Some(value.clone()))
        }
        (Kind::Flag, Value::Bool(_)) => Ok(Some(value.clone())),
        // Entra ID writes flags as text.
        (Kind::Flag, Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true.into())),
        (Kind::Flag, Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false.into())),
        (Kind::Complex(below), Value::Object(sent)) => {
            let read = complex(name, below, sent)?;
            Ok(if read.is_empty() { None } else { Some(read.into()) })
        }
        // The value alone, as some clients send a manager.
        (Kind::Complex(below), Value::String(_)) if find(below, "value").is_some() => {
            let sent = Map::from_iter([("value".to_owned(), value.clone())]);
            Ok(Some(complex(name, below, &sent)?.into()))
        }
        (Kind::Text | Kind::Reference(_) | Kind::Instant, _) => Err(wrong(name, "a text")),
        (Kind::Flag, _) => Err(wrong(name, "true or false")),
        (Kind::Complex(_), _) => Err(wrong(name, "an object")),
    }
}

fn complex(name: &str, below: &[Attribute], sent: &Document) -> Result<Document, Error> {
    let mut read = Document::new();
    for (key, value) in sent {
        let Some(attribute) = find(below, key).filter(|attribute| attribute.mutability != Mutability::ReadOnly) else { continue };
        if let Some(value) =
            one(attribute, value).map_err(|error| Error { public: format!("{name}: {}", error.public), ..error })?
        {
            read.insert(attribute.name.to_owned(), value);
        }
    }
    Ok(read)
}

/// Which attributes an answer has (RFC 7644, section 3.9).
#[derive(Clone, Debug, Default)]
pub(super) struct Projection {
    only: Vec<String>,
    without: Vec<String>,
}

impl Projection {
    /// Of the parameters `attributes` and `excludedAttributes`.
    pub(super) fn new(kind: &ResourceType, attributes: Option<&str>, excluded: Option<&str>) -> Self {
        let list = |text: Option<&str>| {
            let names = text.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(|name| plain(kind, name).to_lowercase()).collect()
        };
        Self { only: list(attributes), without: list(excluded) }
    }

    /// Whether an attribute of the kind itself may be left out altogether.
    pub(super) fn leaves_out(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let wanted = |only: &String| *only == name || only.strip_prefix(&name).is_some_and(|rest| rest.starts_with('.'));
        self.without.contains(&name) || (!self.only.is_empty() && !self.only.iter().any(wanted))
    }

    /// Leaves out what was not asked for. `schemas` and `id` always stay.
    pub(super) fn apply(&self, document: &mut Document) {
        let keep = ["schemas", "id"];
        if !self.only.is_empty() {
            *document = take(document)
                .into_iter()
                .filter_map(
                    |(name, value)| if keep.contains(&name.as_str()) { Some((name, value)) } else { self.part(name, value) },
                )
                .collect();
        }
        for path in self.without.iter().filter(|path| !keep.contains(&path.as_str())) {
            without(document, path);
        }
    }

    /// What is wanted of a member.
    fn part(&self, name: String, mut value: Value) -> Option<(String, Value)> {
        let path = name.to_lowercase();
        if self.only.contains(&path) {
            return Some((name, value));
        }
        let below: Vec<&str> = self.only.iter().filter_map(|only| only.strip_prefix(&path)?.strip_prefix(['.', ':'])).collect();
        if below.is_empty() {
            return None;
        }
        let wanted =
            |known: &String| below.iter().any(|name| name.split('.').next().is_some_and(|n| n.eq_ignore_ascii_case(known)));
        match &mut value {
            Value::Array(values) => {
                values.iter_mut().filter_map(Value::as_object_mut).for_each(|value| value.retain(|known, _| wanted(known)));
            }
            Value::Object(value) => value.retain(|known, _| wanted(known)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Some((name, value))
    }
}

fn without(document: &mut Document, path: &str) {
    document.retain(|name, _| name.to_lowercase() != path);
    for (name, value) in document.iter_mut() {
        let Some(below) = path.strip_prefix(&name.to_lowercase()).and_then(|rest| rest.strip_prefix(['.', ':'])) else {
            continue;
        };
        match value {
            Value::Array(values) => {
                values.iter_mut().filter_map(Value::as_object_mut).for_each(|value| without(value, below));
            }
            Value::Object(value) => without(value, below),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// A name without the schema of the kind itself before it.
fn plain<'a>(kind: &ResourceType, name: &'a str) -> &'a str {
    match name.get(..kind.schema.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(kind.schema) => {
            name.get(kind.schema.len()..).and_then(|rest| rest.strip_prefix(':')).unwrap_or(name)
        }
        _ => name,
    }
}

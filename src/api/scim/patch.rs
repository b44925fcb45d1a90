//! Changes to a part of a resource (RFC 7644, section 3.5.2).

use super::{
    document::{Document, MAX_VALUES, attribute, member, one, value_of},
    filter::{Place, check_values, selects},
    schema::{Attribute, COMMON, Kind, Mutability, ResourceType, find},
};
use crate::domain::{Error, ErrorKind, directory::is_primary};
use scim_v2::filter::{AttrExp, CompValue, CompareOp, PatchPath, ValFilter};
use serde_json::{Map, Value};

/// Most operations of one request.
const MAX_OPERATIONS: usize = 1000;
/// Longest path, in bytes.
const MAX_PATH: usize = 4096;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Remove,
    Replace,
}

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) verb: Verb,
    /// Where; none: the value says it.
    pub(super) path: Option<String>,
    pub(super) value: Option<Value>,
}

fn syntax(public: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidSyntax, public)
}

fn no_such_path(path: &str) -> Error {
    Error::new(ErrorKind::InvalidPath, format!("{path} leads nowhere."))
}

fn no_target(public: impl Into<String>) -> Error {
    Error::new(ErrorKind::NoTarget, public)
}

fn read_only(name: &str) -> Error {
    Error::new(ErrorKind::ReadOnlyAttribute, format!("{name} can't be changed."))
}

/// Reads the body of a request. Names of members and of operations have no case: Entra ID writes `Add`.
pub(super) fn operations(body: &Document) -> Result<Vec<Operation>, Error> {
    let Some(Value::Array(sent)) = member(body, "Operations") else {
        return Err(syntax("Operations has to be a list."));
    };
    if sent.is_empty() || sent.len() > MAX_OPERATIONS {
        return Err(syntax(format!("A request has 1 to {MAX_OPERATIONS} operations.")));
    }
    sent.iter().map(operation).collect()
}

fn operation(sent: &Value) -> Result<Operation, Error> {
    let sent = sent.as_object().ok_or_else(|| syntax("An operation has to be an object."))?;
    let verb = match member(sent, "op").and_then(Value::as_str).map(str::to_lowercase).as_deref() {
        Some("add") => Verb::Add,
        Some("remove") => Verb::Remove,
        Some("replace") => Verb::Replace,
        _ => return Err(syntax("op has to be add, remove or replace.")),
    };
    let path = match member(sent, "path") {
        None | Some(Value::Null) => None,
        Some(Value::String(path)) if path.is_empty() => None,
        Some(Value::String(path)) if path.len() <= MAX_PATH => Some(path.clone()),
        Some(_) => return Err(syntax(format!("path has to be a text of at most {MAX_PATH} bytes."))),
    };
    let value = member(sent, "value").cloned();
    match (verb, &path, &value) {
        (Verb::Remove, None, _) => Err(no_target("remove needs a path.")),
        (Verb::Add | Verb::Replace, _, None) => Err(Error::invalid("add and replace need a value.")),
        _ => Ok(Operation { verb, path, value }),
    }
}

/// Takes an operation without a path apart into operations with one. Attributes that are unknown, or not the client's, are
/// left out, as when a whole resource is sent.
pub(super) fn with_paths(kind: &ResourceType, operation: Operation) -> Result<Vec<Operation>, Error> {
    if operation.path.is_some() {
        return Ok(vec![operation]);
    }
    let Some(Value::Object(values)) = operation.value else {
        return Err(Error::invalid("Without a path, the value has to be an object."));
    };
    let known = |path: &str| match path.parse::<PatchPath>() {
        Ok(PatchPath::Attr(attribute)) => {
            Place::of(kind, &attribute).is_some_and(|place| place.attribute.mutability != Mutability::ReadOnly)
        }
        Ok(PatchPath::Value(_)) => true,
        Err(_) => false,
    };
    let extension = |path: &str| kind.extension.is_some_and(|(schema, _)| schema.eq_ignore_ascii_case(path));
    let mut all = Vec::new();
    for (path, value) in values {
        match value {
            Value::Object(below) if extension(&path) => {
                let inner = below.into_iter().map(|(name, value)| (format!("{path}:{name}"), value));
                all.extend(inner.filter(|(path, _)| known(path)));
            }
            value if known(&path) => all.push((path, value)),
            _ => {}
        }
    }
    Ok(all.into_iter().map(|(path, value)| Operation { verb: operation.verb, path: Some(path), value: Some(value) }).collect())
}

/// Does an operation with a path. The outcome is read again as a whole resource, which checks the rest.
pub(super) fn apply(kind: &ResourceType, document: &mut Document, operation: &Operation) -> Result<(), Error> {
    let path = operation.path.as_deref().unwrap_or_default();
    if let Some((schema, _)) = kind.extension.filter(|(schema, _)| schema.eq_ignore_ascii_case(path)) {
        return match operation.verb {
            Verb::Remove => {
                document.remove(schema);
                Ok(())
            }
            verb => {
                let whole = Value::Object(Map::from_iter([(schema.to_owned(), operation.value.clone().unwrap_or_default())]));
                let parts = with_paths(kind, Operation { verb, path: None, value: Some(whole) })?;
                parts.iter().try_for_each(|part| apply(kind, document, part))
            }
        };
    }
    let parsed: PatchPath = path.parse().map_err(|_| no_such_path(path))?;
    let (named, filter, sub) = match &parsed {
        PatchPath::Attr(named) => (named, None, None),
        PatchPath::Value(value) => (&value.attr, Some(&value.filter), value.sub_attr.as_deref()),
    };
    let place = Place::of(kind, named).ok_or_else(|| no_such_path(path))?;
    let below = match sub {
        Some(name) => Some(find(place.attribute.below(), name).ok_or_else(|| no_such_path(path))?),
        None => place.below,
    };
    if [Some(place.attribute), below].into_iter().flatten().any(|a| a.mutability == Mutability::ReadOnly) {
        return Err(read_only(path));
    }
    let holder = match place.extension {
        None => document,
        Some(schema) => match document.entry(schema).or_insert_with(|| Map::new().into()) {
            Value::Object(extension) => extension,
            _ => return Err(no_such_path(path)),
        },
    };
    let before: Vec<Value> = primaries(holder, place.attribute);
    match filter {
        Some(filter) => selected(holder, place.attribute, filter, below, operation, path)?,
        None => match below {
            Some(below) => inner(holder, place.attribute, below, operation)?,
            None => whole(holder, place.attribute, operation)?,
        },
    }
    one_primary(holder, place.attribute, &before);
    Ok(())
}

fn primaries(holder: &Document, attribute: &Attribute) -> Vec<Value> {
    let values = holder.get(attribute.name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    values.iter().filter(|value| is_primary(value)).cloned().collect()
}

/// A new primary value takes the place of the old one (RFC 7644, section 3.5.2).
fn one_primary(holder: &mut Document, attribute: &Attribute, before: &[Value]) {
    let Some(Value::Array(values)) = holder.get_mut(attribute.name) else { return };
    if values.iter().filter(|value| is_primary(value)).count() < 2 {
        return;
    }
    for value in values.iter_mut().filter(|value| before.contains(value)) {
        if let Value::Object(value) = value {
            value.insert("primary".to_owned(), false.into());
        }
    }
}

/// A path to an attribute.
fn whole(holder: &mut Document, attribute: &Attribute, operation: &Operation) -> Result<(), Error> {
    let name = attribute.name;
    let sent = operation.value.as_ref();
    if operation.verb == Verb::Remove {
        match (sent, holder.get_mut(name)) {
            // Which of several values, as Entra ID says it.
            (Some(sent), Some(Value::Array(values))) if !sent.is_null() => {
                let Some(Value::Array(gone)) = value_of(attribute, sent)? else { return Ok(()) };
                values.retain(|value| !gone.iter().any(|gone| is_same(value, gone)));
            }
            _ => drop(holder.remove(name)),
        }
        return Ok(());
    }
    let Some(value) = value_of(attribute, sent.unwrap_or(&Value::Null))? else {
        // Nothing to add, or everything to take away.
        if operation.verb == Verb::Replace {
            holder.remove(name);
        }
        return Ok(());
    };
    match (operation.verb, holder.get_mut(name), value) {
        (Verb::Add, Some(Value::Array(old)), Value::Array(new)) => {
            for value in new {
                if !old.contains(&value) {
                    old.push(value);
                }
                bounded(attribute, old)?;
            }
        }
        (_, Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
        (_, _, value) => drop(holder.insert(name.to_owned(), value)),
    }
    Ok(())
}

/// Checked at each step: a thousand operations must not make a list that takes long to look through.
fn bounded(attribute: &Attribute, values: &[Value]) -> Result<(), Error> {
    if values.len() > MAX_VALUES {
        return Err(Error::invalid(format!("{} has at most {MAX_VALUES} values.", attribute.name)));
    }
    Ok(())
}

/// Whether a value is the one that is meant: by what it is, else by everything that is said of it.
fn is_same(value: &Value, meant: &Value) -> bool {
    match (value.get("value"), meant.get("value")) {
        (Some(value), Some(meant)) => value == meant,
        _ => value == meant,
    }
}

/// A path to something below an attribute.
fn inner(holder: &mut Document, attribute: &Attribute, below: &Attribute, operation: &Operation) -> Result<(), Error> {
    let value = one(below, operation.value.as_ref().unwrap_or(&Value::Null))?.filter(|_| operation.verb != Verb::Remove);
    let entry = holder.entry(attribute.name).or_insert_with(|| match attribute.multi {
        true => Value::Array(Vec::new()),
        false => Map::new().into(),
    });
    match entry {
        Value::Array(values) if values.is_empty() => {
            values.extend(value.map(|value| Value::Object(Map::from_iter([(below.name.to_owned(), value)]))));
        }
        Value::Array(values) => values.iter_mut().for_each(|entry| put(entry, below.name, value.clone())),
        entry => put(entry, below.name, value),
    }
    Ok(())
}

fn put(entry: &mut Value, name: &str, value: Option<Value>) {
    let Value::Object(entry) = entry else { return };
    match value {
        Some(value) => drop(entry.insert(name.to_owned(), value)),
        None => drop(entry.remove(name)),
    }
}

/// A path that selects among values.
fn selected(
    holder: &mut Document,
    attribute: &Attribute,
    filter: &ValFilter,
    below: Option<&Attribute>,
    operation: &Operation,
    path: &str,
) -> Result<(), Error> {
    if !attribute.multi || !matches!(attribute.kind, Kind::Complex(_)) {
        return Err(no_such_path(path));
    }
    check_values(attribute, filter).map_err(|error| Error::new(ErrorKind::InvalidPath, error.public))?;
    let is_selected = |value: &Value| value.as_object().is_some_and(|value| selects(attribute, filter, value));
    let values = match holder.entry(attribute.name).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(values) => values,
        _ => return Err(no_such_path(path)),
    };
    let sent = operation.value.as_ref().unwrap_or(&Value::Null);
    let found = values.iter().any(is_selected);
    match (operation.verb, below) {
        (Verb::Remove, None) => values.retain(|value| !is_selected(value)),
        (Verb::Remove, Some(below)) => {
            values.iter_mut().filter(|value| is_selected(value)).for_each(|value| put(value, below.name, None));
        }
        (Verb::Replace, _) if !found => return Err(no_target(format!("{path} selects nothing."))),
        // There is none yet: the one that the filter describes is made, as Entra ID expects.
        (Verb::Add, below) if !found => {
            let mut made = described(filter);
            match (below, one(below.unwrap_or(attribute), sent)?) {
                (Some(below), Some(value)) => drop(made.insert(below.name.to_owned(), value)),
                (None, Some(Value::Object(value))) => made.extend(value),
                _ => {}
            }
            values.push(made.into());
            bounded(attribute, values)?;
        }
        (_, Some(below)) => {
            let value = one(below, sent)?;
            values.iter_mut().filter(|value| is_selected(value)).for_each(|entry| put(entry, below.name, value.clone()));
        }
        (verb, None) => {
            let Some(Value::Object(new)) = one(attribute, sent)? else {
                return Err(Error::invalid("The value has to be an object."));
            };
            for value in values.iter_mut().filter(|value| is_selected(value)) {
                match (verb, &mut *value) {
                    (Verb::Add, Value::Object(old)) => old.extend(new.clone()),
                    _ => *value = new.clone().into(),
                }
            }
        }
    }
    Ok(())
}

/// The value that a filter of equalities describes.
fn described(filter: &ValFilter) -> Document {
    match filter {
        ValFilter::Attr(AttrExp::Comparison(path, CompareOp::Eq, value)) => {
            let value = match value {
                CompValue::Str(text) => Value::String(text.clone()),
                CompValue::True => true.into(),
                CompValue::False => false.into(),
                CompValue::Null | CompValue::Number(_) => return Document::new(),
            };
            Document::from_iter([(path.name.clone(), value)])
        }
        ValFilter::And(all) => all.iter().flat_map(described).collect(),
        ValFilter::Attr(_) | ValFilter::Not(_) | ValFilter::Or(_) => Document::new(),
    }
}

/// Whether a path is about an attribute, or something in it.
pub(super) fn is_about(kind: &ResourceType, path: &str, name: &str) -> Result<bool, Error> {
    let parsed: PatchPath = path.parse().map_err(|_| no_such_path(path))?;
    let named = match &parsed {
        PatchPath::Attr(named) => named,
        PatchPath::Value(value) => &value.attr,
    };
    let place = Place::of(kind, named).ok_or_else(|| no_such_path(path))?;
    Ok(attribute(kind, name).is_some_and(|attribute| std::ptr::eq(attribute, place.attribute)) && find(COMMON, name).is_none())
}

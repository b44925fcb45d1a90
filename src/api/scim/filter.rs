//! Filters (RFC 7644, section 3.4.2.2): the `scim_v2` crate reads them, within its limits of depth and number; what they
//! mean is here.

use super::{
    document::{Document, member},
    schema::{Attribute, COMMON, Kind, ResourceType, find},
};
use crate::{
    domain::{Error, ErrorKind, Timestamp},
    store::Narrow,
};
use scim_v2::filter::{AttrExp, AttrPath, CompValue, CompareOp, Filter, ValFilter};
use serde_json::Value;

/// Longest filter, in bytes.
pub(super) const MAX_FILTER: usize = 8 * 1024;

fn invalid(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidFilter, format!("The filter can't be understood: {why}."))
}

/// Reads a filter, and checks that it speaks of attributes that there are, in ways that fit them.
pub(super) fn parse(kind: &ResourceType, text: &str) -> Result<Filter, Error> {
    if text.len() > MAX_FILTER {
        return Err(invalid(format!("it has more than {MAX_FILTER} bytes")));
    }
    let filter: Filter = text.parse().map_err(|error| invalid(format!("{error}").trim_end_matches('.')))?;
    check(kind, &filter)?;
    Ok(filter)
}

fn check(kind: &ResourceType, filter: &Filter) -> Result<(), Error> {
    match filter {
        Filter::Attr(expression) => check_expression(expression, &|path| Place::of(kind, path).map(|place| place.leaf())),
        Filter::ValuePath(path) => {
            check_values(Place::of(kind, &path.attr).ok_or_else(|| unknown(&path.attr))?.attribute, &path.filter)
        }
        Filter::Not(inner) => check(kind, inner),
        Filter::And(all) | Filter::Or(all) => all.iter().try_for_each(|one| check(kind, one)),
    }
}

/// Checks what selects among the values of an attribute.
pub(super) fn check_values(attribute: &Attribute, filter: &ValFilter) -> Result<(), Error> {
    match filter {
        ValFilter::Attr(expression) => check_expression(expression, &|path| below(attribute, path)),
        ValFilter::Not(inner) => check_values(attribute, inner),
        ValFilter::And(all) | ValFilter::Or(all) => all.iter().try_for_each(|one| check_values(attribute, one)),
    }
}

fn unknown(path: &AttrPath) -> Error {
    invalid(format!("there is no attribute {path}"))
}

fn below<'a>(attribute: &'a Attribute, path: &AttrPath) -> Option<&'a Attribute> {
    (path.uri.is_none() && path.sub_attr.is_none()).then(|| find(attribute.below(), &path.name))?
}

fn check_expression<'a>(expression: &AttrExp, resolve: &dyn Fn(&AttrPath) -> Option<&'a Attribute>) -> Result<(), Error> {
    let (path, comparison) = match expression {
        AttrExp::Present(path) => (path, None),
        AttrExp::Comparison(path, op, value) => (path, Some((op, value))),
    };
    let attribute = resolve(path).ok_or_else(|| unknown(path))?;
    let Some((op, value)) = comparison else { return Ok(()) };
    let equality = matches!(op, CompareOp::Eq | CompareOp::Ne);
    let fits = match (&attribute.kind, value) {
        (Kind::Complex(_), _) => false,
        (_, CompValue::Null) => equality,
        (Kind::Flag, value) => equality && flag(value).is_some(),
        (Kind::Instant, CompValue::Str(text)) => {
            Timestamp::parse(text).is_some() && !matches!(op, CompareOp::Co | CompareOp::Sw | CompareOp::Ew)
        }
        (Kind::Text | Kind::Reference(_), CompValue::Str(_)) => true,
        (Kind::Text | Kind::Reference(_) | Kind::Instant, _) => false,
    };
    if fits { Ok(()) } else { Err(invalid(format!("{path} can't be compared so"))) }
}

fn flag(value: &CompValue) -> Option<bool> {
    match value {
        CompValue::True => Some(true),
        CompValue::False => Some(false),
        CompValue::Str(text) if text.eq_ignore_ascii_case("true") => Some(true),
        CompValue::Str(text) if text.eq_ignore_ascii_case("false") => Some(false),
        CompValue::Str(_) | CompValue::Null | CompValue::Number(_) => None,
    }
}

/// Where a path leads.
pub(super) struct Place {
    /// The extension, where it is in one.
    pub(super) extension: Option<&'static str>,
    /// The attribute.
    pub(super) attribute: &'static Attribute,
    /// What is named below it.
    pub(super) below: Option<&'static Attribute>,
}

impl Place {
    /// Follows a path; none where it leads nowhere.
    pub(super) fn of(kind: &ResourceType, path: &AttrPath) -> Option<Self> {
        let (extension, attribute) = match &path.uri {
            None => (None, find(COMMON, &path.name).or_else(|| find(kind.attributes, &path.name))?),
            Some(schema) if schema.eq_ignore_ascii_case(kind.schema) => (None, find(kind.attributes, &path.name)?),
            Some(schema) => {
                let (name, attributes) = kind.extension.filter(|(name, _)| schema.eq_ignore_ascii_case(name))?;
                (Some(name), find(attributes, &path.name)?)
            }
        };
        let below = match &path.sub_attr {
            None => None,
            Some(name) => Some(find(attribute.below(), name)?),
        };
        Some(Self { extension, attribute, below })
    }

    /// What is compared: of several values, their `value`, where nothing else is named.
    fn leaf(&self) -> &'static Attribute {
        let value = || find(self.attribute.below(), "value");
        self.below.or_else(value).unwrap_or(self.attribute)
    }

    fn values<'d>(&self, document: &'d Document) -> Vec<&'d Value> {
        let holder = match self.extension {
            None => Some(document),
            Some(schema) => document.get(schema).and_then(Value::as_object),
        };
        let values = match holder.and_then(|holder| holder.get(self.attribute.name)) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values.iter().collect(),
            Some(value) => vec![value],
        };
        let leaf = self.leaf();
        if std::ptr::eq(leaf, self.attribute) {
            return values;
        }
        values.into_iter().filter_map(|value| value.get(leaf.name)).collect()
    }
}

/// Whether a resource fits a filter that was checked.
pub(super) fn fits(kind: &ResourceType, filter: &Filter, document: &Document) -> bool {
    match filter {
        Filter::Attr(expression) => {
            let (AttrExp::Present(path) | AttrExp::Comparison(path, ..)) = expression;
            Place::of(kind, path).is_some_and(|place| holds(place.leaf(), expression, &place.values(document)))
        }
        Filter::ValuePath(path) => Place::of(kind, &path.attr).is_some_and(|place| {
            let value = document.get(place.attribute.name);
            let values =
                value.and_then(Value::as_array).map_or_else(|| value.map(std::slice::from_ref), |all| Some(all.as_slice()));
            let selected = |value: &Value| value.as_object().is_some_and(|value| selects(place.attribute, &path.filter, value));
            values.unwrap_or_default().iter().any(selected)
        }),
        Filter::Not(inner) => !fits(kind, inner, document),
        Filter::And(all) => all.iter().all(|one| fits(kind, one, document)),
        Filter::Or(all) => all.iter().any(|one| fits(kind, one, document)),
    }
}

/// Whether one value of an attribute is selected.
pub(super) fn selects(attribute: &Attribute, filter: &ValFilter, value: &Document) -> bool {
    match filter {
        ValFilter::Attr(expression) => {
            let (AttrExp::Present(path) | AttrExp::Comparison(path, ..)) = expression;
            let Some(leaf) = below(attribute, path) else { return false };
            let values: Vec<&Value> = member(value, leaf.name).into_iter().collect();
            holds(leaf, expression, &values)
        }
        ValFilter::Not(inner) => !selects(attribute, inner, value),
        ValFilter::And(all) => all.iter().all(|one| selects(attribute, one, value)),
        ValFilter::Or(all) => all.iter().any(|one| selects(attribute, one, value)),
    }
}

/// An expression about the values of an attribute: one of them has to fit, and for `ne` none may be the same.
fn holds(attribute: &Attribute, expression: &AttrExp, values: &[&Value]) -> bool {
    let AttrExp::Comparison(_, op, wanted) = expression else { return !values.is_empty() };
    match (op, wanted) {
        (CompareOp::Eq, CompValue::Null) => values.is_empty(),
        (_, CompValue::Null) => !values.is_empty(),
        (CompareOp::Ne, _) => !values.iter().any(|value| compares(attribute, &CompareOp::Eq, wanted, value)),
        (op, _) => values.iter().any(|value| compares(attribute, op, wanted, value)),
    }
}

fn compares(attribute: &Attribute, op: &CompareOp, wanted: &CompValue, value: &Value) -> bool {
    match (&attribute.kind, wanted, value) {
        (Kind::Flag, wanted, Value::Bool(value)) => flag(wanted) == Some(*value),
        (Kind::Instant, CompValue::Str(wanted), Value::String(value)) => {
            let (Some(wanted), Some(value)) = (Timestamp::parse(wanted), Timestamp::parse(value)) else { return false };
            ordered(op, &value, &wanted)
        }
        (_, CompValue::Str(wanted), Value::String(value)) if attribute.exact => text(op, value, wanted),
        (_, CompValue::Str(wanted), Value::String(value)) => text(op, &value.to_lowercase(), &wanted.to_lowercase()),
        _ => false,
    }
}

fn text(op: &CompareOp, value: &str, wanted: &str) -> bool {
    match op {
        CompareOp::Co => value.contains(wanted),
        CompareOp::Sw => value.starts_with(wanted),
        CompareOp::Ew => value.ends_with(wanted),
        op => ordered(op, &value, &wanted),
    }
}

fn ordered<T: Ord>(op: &CompareOp, value: &T, wanted: &T) -> bool {
    match op {
        CompareOp::Eq => value == wanted,
        CompareOp::Ne => value != wanted,
        CompareOp::Gt => value > wanted,
        CompareOp::Lt => value < wanted,
        CompareOp::Ge => value >= wanted,
        CompareOp::Le => value <= wanted,
        CompareOp::Co | CompareOp::Sw | CompareOp::Ew => false,
    }
}

/// The part that an index finds and that everything the filter fits is in. Nothing but an equality that has to hold will do.
pub(super) fn narrow(kind: &ResourceType, filter: &Filter) -> Narrow {
    match filter {
        Filter::Attr(AttrExp::Comparison(path, CompareOp::Eq, CompValue::Str(wanted))) => {
            let Some(place) = Place::of(kind, path).filter(|place| place.extension.is_none()) else { return Narrow::All };
            let value = place.below.is_none_or(|below| below.name == "value");
            match place.attribute.name {
                "id" => Narrow::Id(wanted.clone()),
                "externalId" => Narrow::ExternalId(wanted.clone()),
                "userName" => Narrow::Name(wanted.to_lowercase()),
                "displayName" if kind.name == "Group" => Narrow::Name(wanted.to_lowercase()),
                "members" if value => Narrow::Member(wanted.clone()),
                _ => Narrow::All,
            }
        }
        Filter::And(all) => {
            let found: Vec<Narrow> = all.iter().map(|one| narrow(kind, one)).filter(|part| *part != Narrow::All).collect();
            // Few groups have somebody in them that one asks about: that is asked of groups with many members.
            let member = found.iter().find(|part| matches!(part, Narrow::Member(_)));
            member.or(found.first()).cloned().unwrap_or(Narrow::All)
        }
        Filter::Attr(_) | Filter::ValuePath(_) | Filter::Not(_) | Filter::Or(_) => Narrow::All,
    }
}

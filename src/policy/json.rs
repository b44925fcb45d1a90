//! JSON with positions: every value knows where in the text it stands, and no key is lost.
//!
//! `serde_json` does the parsing. Each level is read into borrowed raw values, whose place in the text is where they point.
//! Nothing recurses, so no depth can exhaust the stack; a level is scanned once more for each level above it, and a policy has
//! seven.

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// A stretch of the text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One after the last.
    pub end: usize,
}

/// A place as editors show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// From 0, in bytes.
    pub offset: usize,
}

impl Position {
    /// The place of a byte of the text.
    #[must_use]
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..text.floor_char_boundary(offset)).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        Self { line: before.matches('\n').count() + 1, column, offset: before.len() }
    }
}

/// What a value is, without its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A value and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    raw: &'a str,
    start: usize,
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) name: String,
    pub(super) value: Node<'a>,
}

/// Why a text is not JSON.
#[derive(Debug)]
pub(super) struct Syntax {
    pub(super) at: usize,
    pub(super) problem: String,
}

impl<'a> Node<'a> {
    /// Reads a whole text.
    pub(super) fn parse(text: &'a str) -> Result<Self, Syntax> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| syntax(text, 0, &error))?;
        Ok(Self::within(text, 0, raw))
    }

    fn within(text: &'a str, base: usize, raw: &'a RawValue) -> Self {
        let raw = raw.get();
        Self { raw, start: base + (raw.as_ptr() as usize).saturating_sub(text.as_ptr() as usize) }
    }

    pub(super) const fn span(&self) -> Span {
        Span { start: self.start, end: self.start + self.raw.len() }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.raw.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The members in order, duplicates included; nothing when it is no object.
    pub(super) fn members(&self) -> Result<Option<Vec<Member<'a>>>, Syntax> {
        if self.kind() != Kind::Object {
            return Ok(None);
        }
        let members: Members<'a> = serde_json::from_str(self.raw).map_err(|error| syntax(self.raw, self.start, &error))?;
        let place = |(name, raw)| Member { name, value: Self::within(self.raw, self.start, raw) };
        Ok(Some(members.0.into_iter().map(place).collect()))
    }

    /// The items; nothing when it is no list.
    pub(super) fn items(&self) -> Result<Option<Vec<Self>>, Syntax> {
        if self.kind() != Kind::Array {
            return Ok(None);
        }
        let items: Items<'a> = serde_json::from_str(self.raw).map_err(|error| syntax(self.raw, self.start, &error))?;
        Ok(Some(items.0.into_iter().map(|raw| Self::within(self.raw, self.start, raw)).collect()))
    }

    /// The text of a string; a number or a boolean as it is written, as AWS takes them where it expects strings.
    pub(super) fn scalar(&self) -> Result<Option<String>, Syntax> {
        match self.kind() {
            Kind::String => serde_json::from_str(self.raw).map(Some).map_err(|error| syntax(self.raw, self.start, &error)),
            Kind::Bool | Kind::Number => Ok(Some(self.raw.to_owned())),
            Kind::Null | Kind::Array | Kind::Object => Ok(None),
        }
    }
}

fn syntax(text: &str, base: usize, error: &serde_json::Error) -> Syntax {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => text.match_indices('\n').nth(line - 2).map_or(0, |(newline, _)| newline + 1),
    };
    let message = error.to_string();
    let problem = message.split(" at line ").next().unwrap_or_default().to_owned();
    Syntax { at: base + (line_start + error.column().saturating_sub(1)).min(text.len()), problem }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

struct Items<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Items<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(All).map_err(de::Error::custom)
    }
}

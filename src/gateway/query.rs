//! awsQuery: dotted form keys in, XML out (Smithy, "AWS Query protocol").

use crate::domain::Timestamp;
use serde::{
    Serialize,
    de::{self, DeserializeOwned, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    ser,
};
use std::{collections::BTreeMap, fmt};

/// Most parameters read.
pub const MAX_PARAMETERS: usize = 2000;
const MAX_LEVELS: usize = 8;

/// A codec's complaint, for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

impl de::Error for CodecError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl ser::Error for CodecError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Reads an operation from form parameters. Unknown members are refused: an ignored `Policy` would grant more than was asked.
///
/// # Errors
/// A sentence that names the parameter.
pub fn from_parameters<'p, T: DeserializeOwned>(parameters: impl Iterator<Item = &'p (String, String)>) -> Result<T, CodecError> {
    let mut root = Node::default();
    for (number, (name, value)) in parameters.enumerate() {
        if number >= MAX_PARAMETERS {
            return Err(CodecError(format!("at most {MAX_PARAMETERS} parameters")));
        }
        let path: Vec<&str> = name.split('.').collect();
        if path.len() > MAX_LEVELS {
            return Err(CodecError(format!("`{name}` is nested too deeply")));
        }
        root.insert(&path, value, name)?;
    }
    T::deserialize(root)
}

/// A tree of parameters. A leaf has a text; lists are members named `member.1`, `member.2` …
#[derive(Debug, Default)]
struct Node {
    text: Option<String>,
    members: BTreeMap<String, Node>,
}

impl Node {
    fn insert(&mut self, path: &[&str], value: &str, name: &str) -> Result<(), CodecError> {
        match path.split_first() {
            None if self.text.is_some() => Err(CodecError(format!("`{name}` appears twice"))),
            None => {
                self.text = Some(value.to_owned());
                Ok(())
            }
            Some((first, rest)) => self.members.entry((*first).to_owned()).or_default().insert(rest, value, name),
        }
    }

    fn leaf(self) -> Result<String, CodecError> {
        if self.members.is_empty() {
            self.text.ok_or_else(|| CodecError("a value is missing".to_owned()))
        } else {
            Err(CodecError("expected a plain value".to_owned()))
        }
    }

    fn number<T: std::str::FromStr>(self) -> Result<T, CodecError> {
        let text = self.leaf()?;
        text.parse().map_err(|_| CodecError(format!("`{text}` is not a number in range")))
    }
}

macro_rules! number {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
            visitor.$visit(self.number::<$type>()?)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Node {
    type Error = CodecError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        if self.members.is_empty() { visitor.visit_string(self.leaf()?) } else { self.deserialize_map(visitor) }
    }
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.leaf()?.as_str() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            other => Err(CodecError(format!("`{other}` is not true or false"))),
        }
    }
    number!(
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64
    );
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_some(self)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, CodecError> {
        // An empty list is a bare name.
        if self.members.is_empty() && self.text.as_deref() == Some("") {
            return visitor.visit_seq(List(Vec::new().into_iter()));
        }
        let member = self.members.remove("member").filter(|_| self.members.is_empty() && self.text.is_none());
        let member = member.ok_or_else(|| CodecError("a list looks like Name.member.1".to_owned()))?;
        let mut items = Vec::with_capacity(member.members.len());
        for (index, item) in member.members {
            items.push((
                index.parse::<u32>().map_err(|_| CodecError(format!("`{index}` is not the number of a list member")))?,
                item,
            ));
        }
        items.sort_by_key(|(index, _)| *index);
        let items: Vec<Node> = items.into_iter().map(|(_, item)| item).collect();
        visitor.visit_seq(List(items.into_iter()))
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        if self.text.as_deref().is_some_and(|text| !text.is_empty()) {
            return Err(CodecError("expected a structure, received a plain value".to_owned()));
        }
        visitor.visit_map(Members { rest: self.members.into_iter(), value: None })
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_map(visitor)
    }
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_unit()
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        visitor.visit_enum(self.leaf()?.into_deserializer())
    }

    serde::forward_to_deserialize_any! { char str string bytes byte_buf unit_struct tuple tuple_struct identifier ignored_any }
}

struct List(std::vec::IntoIter<Node>);

impl<'de> SeqAccess<'de> for List {
    type Error = CodecError;
    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, CodecError> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }
}

struct Members {
    rest: std::collections::btree_map::IntoIter<String, Node>,
    value: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = CodecError;
    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, CodecError> {
        let Some((name, node)) = self.rest.next() else { return Ok(None) };
        let key = seed.deserialize(name.clone().into_deserializer());
        self.value = Some((name, node));
        key.map(Some)
    }
    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, CodecError> {
        let (name, node) = self.value.take().ok_or_else(|| CodecError("a value is missing".to_owned()))?;
        // AWS's own wording names the member already.
        let placed = |CodecError(message)| match message.starts_with("1 validation error detected") {
            true => CodecError(message),
            false => CodecError(format!("{name}: {message}")),
        };
        seed.deserialize(node).map_err(placed)
    }
}

/// Writes an answer: `<{Operation}Response><{Operation}Result>…</…><ResponseMetadata>…`.
///
/// # Errors
/// When a value has no place in this format (a map, a tuple).
pub fn to_xml(operation: &str, version: &str, output: &impl Serialize, request_id: &str) -> Result<String, CodecError> {
    let namespace = namespace(version);
    let mut xml = format!("<{operation}Response xmlns=\"{namespace}\"><{operation}Result>");
    output.serialize(ToXml)?.write(&mut xml);
    xml.push_str(&format!(
        "</{operation}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    ));
    Ok(xml)
}

/// The XML namespace of an API version.
#[must_use]
pub fn namespace(version: &str) -> String {
    let service = if version == "2010-05-08" { "iam" } else { "sts" };
    format!("https://{service}.amazonaws.com/doc/{version}/")
}

/// The same answer in JSON, for clients that send `Accept: application/json`:
/// `{"{Operation}Response": {"{Operation}Result": …, "ResponseMetadata": …}}`. Times are **seconds** since the epoch, and what
/// is absent is null, as AWS writes it.
///
/// # Errors
/// When a value has no place in this format (a map, a tuple).
pub fn to_json(operation: &str, output: &impl Serialize, request_id: &str) -> Result<String, CodecError> {
    let mut response = serde_json::Map::new();
    match output.serialize(ToXml)? {
        // An operation without output has no result.
        Xml::Structure(members) if members.is_empty() => {}
        result => drop(response.insert(format!("{operation}Result"), result.into_json())),
    }
    response.insert("ResponseMetadata".to_owned(), serde_json::json!({ "RequestId": request_id }));
    Ok(serde_json::json!({ format!("{operation}Response"): response }).to_string())
}

/// What answers are made of.
enum Xml {
    Nothing,
    Text(String),
    /// Numbers and booleans: without quotes in JSON.
    Plain(String),
    Time(Timestamp),
    List(Vec<Xml>),
    Structure(Vec<(&'static str, Xml)>),
}

impl Xml {
    fn write(&self, out: &mut String) {
        match self {
            Self::Nothing => {}
            Self::Text(text) => out.push_str(&crate::crypto::xml::escape(text)),
            Self::Plain(text) => out.push_str(text),
            Self::Time(time) => out.push_str(&time.to_string()),
            Self::List(items) => items.iter().for_each(|item| element("member", item, out)),
            Self::Structure(members) => {
                for (name, value) in members {
                    if !matches!(value, Self::Nothing) {
                        element(name, value, out);
                    }
                }
            }
        }
    }
}

impl Xml {
    fn into_json(self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Nothing => Value::Null,
            Self::Text(text) => Value::String(text),
            Self::Plain(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            Self::Time(time) => time.seconds().into(),
            Self::List(items) => items.into_iter().map(Self::into_json).collect(),
            Self::Structure(members) => members.into_iter().map(|(name, value)| (name.to_owned(), value.into_json())).collect(),
        }
    }
}

fn element(name: &str, value: &Xml, out: &mut String) {
    out.push_str(&format!("<{name}>"));
    value.write(out);
    out.push_str(&format!("</{name}>"));
}

struct ToXml;

macro_rules! scalars {
    ($kind:ident: $($method:ident $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Xml, CodecError> { Ok(Xml::$kind(value.to_string())) })*
    };
}

fn unsupported<T>() -> Result<T, CodecError> {
    Err(CodecError("this shape has no place in the query protocol".to_owned()))
}

impl ser::Serializer for ToXml {
    type Ok = Xml;
    type Error = CodecError;
    type SerializeSeq = XmlList;
    type SerializeTuple = ser::Impossible<Xml, CodecError>;
    type SerializeTupleStruct = ser::Impossible<Xml, CodecError>;
    type SerializeTupleVariant = ser::Impossible<Xml, CodecError>;
    type SerializeMap = ser::Impossible<Xml, CodecError>;
    type SerializeStruct = XmlStructure;
    type SerializeStructVariant = ser::Impossible<Xml, CodecError>;

    scalars!(
        Plain: serialize_bool bool, serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_u8 u8,
        serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_f32 f32, serialize_f64 f64
    );
    scalars!(Text: serialize_char char, serialize_str &str);
    fn serialize_bytes(self, _value: &[u8]) -> Result<Xml, CodecError> {
        unsupported()
    }
    fn serialize_none(self) -> Result<Xml, CodecError> {
        Ok(Xml::Nothing)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Xml, CodecError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Xml, CodecError> {
        Ok(Xml::Structure(Vec::new()))
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<Xml, CodecError> {
        Ok(Xml::Structure(Vec::new()))
    }
    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<Xml, CodecError> {
        Ok(Xml::Text(variant.to_owned()))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<Xml, CodecError> {
        let inner = value.serialize(self)?;
        match (name, &inner) {
            ("Timestamp", Xml::Plain(text)) => {
                let milliseconds = text.parse().map_err(|_| CodecError("a timestamp is not a number".to_owned()))?;
                Ok(Xml::Time(Timestamp(milliseconds)))
            }
            _ => Ok(inner),
        }
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Xml, CodecError> {
        unsupported()
    }
    fn serialize_seq(self, _length: Option<usize>) -> Result<XmlList, CodecError> {
        Ok(XmlList(Vec::new()))
    }
    fn serialize_tuple(self, _length: usize) -> Result<Self::SerializeTuple, CodecError> {
        unsupported()
    }
    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Self::SerializeTupleStruct, CodecError> {
        unsupported()
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleVariant, CodecError> {
        unsupported()
    }
    fn serialize_map(self, _length: Option<usize>) -> Result<Self::SerializeMap, CodecError> {
        unsupported()
    }
    fn serialize_struct(self, _name: &'static str, length: usize) -> Result<XmlStructure, CodecError> {
        Ok(XmlStructure(Vec::with_capacity(length)))
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStructVariant, CodecError> {
        unsupported()
    }
}

struct XmlList(Vec<Xml>);

impl ser::SerializeSeq for XmlList {
    type Ok = Xml;
    type Error = CodecError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        self.0.push(value.serialize(ToXml)?);
        Ok(())
    }
    fn end(self) -> Result<Xml, CodecError> {
        Ok(Xml::List(self.0))
    }
}

struct XmlStructure(Vec<(&'static str, Xml)>);

impl ser::SerializeStruct for XmlStructure {
    type Ok = Xml;
    type Error = CodecError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), CodecError> {
        self.0.push((key, value.serialize(ToXml)?));
        Ok(())
    }
    fn end(self) -> Result<Xml, CodecError> {
        Ok(Xml::Structure(self.0))
    }
}

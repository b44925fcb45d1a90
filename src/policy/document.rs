//! Policy documents as people write them: JSON in, a tree with positions out, and back to JSON
//! (IAM user guide, "Grammar of the IAM JSON policy language").
//!
//! Reading goes on after a mistake, so that all of them can be shown at once. What a document *does* is decided on its
//! compiled form, [`super::Policy`].

use super::{
    finding::{Finding, MalformedDocument},
    json::{Kind, Member, Node, Span, Syntax},
};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};

/// Longest document read, in bytes: the longest AWS-managed policy has 152,297. Each use has its own smaller quota.
pub const MAX_DOCUMENT_LENGTH: usize = 262_144;

/// What a document is for: it decides which elements it must and must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// Attached to a role, a user or a group, a boundary, or passed as session policy: `Resource`, no `Principal`.
    Identity,
    /// Attached to a resource: `Principal` and `Resource`.
    Resource,
    /// A role's trust policy: `Principal`, no `Resource`.
    Trust,
    /// A service control policy of the organization: `Resource`, no `Principal`.
    ServiceControl,
    /// A resource control policy of the organization: `Principal` is `*`, and `Resource`.
    ResourceControl,
}

impl DocumentKind {
    const fn has_principal(self) -> bool {
        matches!(self, Self::Resource | Self::Trust | Self::ResourceControl)
    }
}

/// A value and its place. Equal when the values are, wherever they stand.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place in bytes.
    pub span: Span,
    /// Its place as a JSON pointer.
    pub pointer: String,
}

impl<T> Located<T> {
    fn new(value: T, node: Node<'_>, pointer: &str) -> Self {
        Self { value, span: node.span(), pointer: pointer.to_owned() }
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// The version of the policy language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `2008-10-17`, also when absent: `${…}` is plain text.
    V2008,
    /// `2012-10-17`: with policy variables.
    V2012,
}

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// None when it is not written, which means [`Version::V2008`].
    pub version: Option<Located<Version>>,
    /// `Id`.
    pub id: Option<Located<String>>,
    /// In order.
    pub statements: Vec<Located<Statement>>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// `Sid`, when it is written.
    pub sid: Option<Located<String>>,
    /// `Allow`, else `Deny`.
    pub allow: bool,
    /// `Principal` or `NotPrincipal`.
    pub principal: Option<Element<PrincipalValue>>,
    /// `Action` or `NotAction`.
    pub action: Element<String>,
    /// `Resource` or `NotResource`.
    pub resource: Option<Element<String>>,
    /// `Condition`, one entry per operator and key.
    pub conditions: Vec<ConditionEntry>,
}

/// An element that can be negated, and its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Element<T> {
    /// `Not…`.
    pub negated: bool,
    /// In order, at least one.
    pub values: Vec<Located<T>>,
}

/// One value of `Principal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalValue {
    /// `AWS`, `Federated`, `Service` or `CanonicalUser`; `*` for the bare `"Principal": "*"`.
    pub kind: &'static str,
    /// As written.
    pub value: String,
}

/// `operator: {key: values}`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionEntry {
    /// As written, for example `ForAnyValue:StringLike`.
    pub operator: String,
    /// As written.
    pub key: Located<String>,
    /// In order. None at all is allowed: nothing equals one of no values.
    pub values: Vec<Located<String>>,
}

impl Document {
    /// Parses a document. Duplicate keys, unknown elements and wrong types are refused, not ignored: an ignored `Condition`
    /// would grant more than was written.
    ///
    /// # Errors
    /// [`MalformedDocument`]: the first error in the text.
    pub fn parse(text: &str, kind: DocumentKind) -> Result<Self, MalformedDocument> {
        let (document, findings) = Self::read(text, kind);
        match (document, findings.iter().min_by_key(|finding| finding.span.start)) {
            (Some(document), None) => Ok(document),
            (_, Some(first)) => Err(MalformedDocument::new(text, first)),
            (None, None) => Err(MalformedDocument::new(text, &missing_statement(Span::default()))),
        }
    }

    /// Reads as much as can be read, with everything that is wrong. No document comes of a text that is not JSON.
    #[must_use]
    pub fn read(text: &str, kind: DocumentKind) -> (Option<Self>, Vec<Finding>) {
        let mut reader = Reader { kind, findings: Vec::new() };
        if text.len() > MAX_DOCUMENT_LENGTH {
            let message = format!("A policy has at most {MAX_DOCUMENT_LENGTH} bytes.");
            reader.findings.push(Finding::error("POLICY_SIZE_EXCEEDS_QUOTA", "", Span::default(), message));
            return (None, reader.findings);
        }
        if let Some((at, odd)) = text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
            let message = format!("The control character U+{:04X} can't stand in a policy.", u32::from(odd));
            reader.findings.push(Finding::error("JSON_SYNTAX_ERROR", "", Span { start: at, end: at + odd.len_utf8() }, message));
            return (None, reader.findings);
        }
        let document = match Node::parse(text).and_then(|node| reader.document(node)) {
            Ok(document) => document,
            Err(syntax) => {
                // The parser counts bytes; a place is a whole character.
                let start = text.floor_char_boundary(syntax.at);
                let span = Span { start, end: text.ceil_char_boundary(start + 1).min(text.len()) };
                reader.findings.push(Finding::error("JSON_SYNTAX_ERROR", "", span, sentence(&syntax.problem)));
                None
            }
        };
        (document, reader.findings)
    }

    /// Whether policy variables are read.
    #[must_use]
    pub fn variables(&self) -> bool {
        self.version.as_ref().is_some_and(|version| version.value == Version::V2012)
    }

    /// The document as JSON, statements as a list, single values unwrapped, elements in AWS's customary order.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        if let Some(version) = &self.version {
            let text = if version.value == Version::V2012 { "2012-10-17" } else { "2008-10-17" };
            members.insert("Version".to_owned(), text.into());
        }
        if let Some(id) = &self.id {
            members.insert("Id".to_owned(), id.value.clone().into());
        }
        let statements = self.statements.iter().map(|statement| statement.value.to_json()).collect();
        members.insert("Statement".to_owned(), Value::Array(statements));
        Value::Object(members)
    }
}

impl std::fmt::Display for Document {
    /// Indented JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string_pretty(&self.to_json()).map_err(|_| std::fmt::Error)?)
    }
}

impl Statement {
    pub(super) fn to_json(&self) -> Value {
        let mut members = Map::new();
        if let Some(sid) = &self.sid {
            members.insert("Sid".to_owned(), sid.value.clone().into());
        }
        members.insert("Effect".to_owned(), if self.allow { "Allow" } else { "Deny" }.into());
        if let Some(principal) = &self.principal {
            members.insert(named("Principal", principal.negated), principals_json(&principal.values));
        }
        members.insert(named("Action", self.action.negated), one_or_list(&self.action.values));
        if let Some(resource) = &self.resource {
            members.insert(named("Resource", resource.negated), one_or_list(&resource.values));
        }
        if !self.conditions.is_empty() {
            let mut operators = Map::new();
            for entry in &self.conditions {
                let keys = operators.entry(entry.operator.clone()).or_insert_with(|| json!({}));
                if let Value::Object(keys) = keys {
                    keys.insert(entry.key.value.clone(), one_or_list(&entry.values));
                }
            }
            members.insert("Condition".to_owned(), Value::Object(operators));
        }
        Value::Object(members)
    }
}

fn named(element: &str, negated: bool) -> String {
    if negated { format!("Not{element}") } else { element.to_owned() }
}

fn one_or_list(values: &[Located<String>]) -> Value {
    match values {
        [only] => only.value.clone().into(),
        several => several.iter().map(|value| Value::from(value.value.clone())).collect(),
    }
}

fn principals_json(values: &[Located<PrincipalValue>]) -> Value {
    if let [Located { value: PrincipalValue { kind: "*", .. }, .. }] = values {
        return "*".into();
    }
    let mut kinds: Map<String, Value> = Map::new();
    for PrincipalValue { kind, value } in values.iter().map(|located| &located.value) {
        match kinds.get_mut(*kind) {
            None => drop(kinds.insert((*kind).to_owned(), value.clone().into())),
            Some(Value::Array(list)) => list.push(value.clone().into()),
            Some(single) => *single = json!([single.clone(), value]),
        }
    }
    Value::Object(kinds)
}

fn sentence(problem: &str) -> String {
    let mut letters = problem.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn missing_statement(span: Span) -> Finding {
    Finding::error("MISSING_STATEMENT", "", span, "A policy needs at least one Statement.")
}

struct Reader {
    kind: DocumentKind,
    findings: Vec<Finding>,
}

type Read<T> = Result<T, Syntax>;

impl Reader {
    fn error(&mut self, code: &'static str, at: &str, node: Node<'_>, message: impl Into<String>) {
        self.findings.push(Finding::error(code, at, node.span(), message));
    }

    fn members<'a>(&mut self, at: &str, node: Node<'a>, what: &str) -> Read<Vec<Member<'a>>> {
        let Some(members) = node.members()? else {
            self.error("JSON_SYNTAX_ERROR", at, node, format!("{what} is an object."));
            return Ok(Vec::new());
        };
        let mut seen: HashSet<&str> = HashSet::new();
        let mut folded: HashMap<String, &str> = HashMap::new();
        let mut doubles = Vec::new();
        for member in &members {
            if !seen.insert(&member.name) {
                let message = format!("`{}` appears twice in the same object: only one of them would count.", member.name);
                doubles.push(("JSON_SYNTAX_ERROR", member, message));
            } else if let Some(earlier) = folded.insert(member.name.to_lowercase(), &member.name) {
                let message = format!("`{earlier}` and `{}` differ only in letter case.", member.name);
                doubles.push(("DUPLICATE_KEYS_WITH_DIFFERENT_CASE", member, message));
            }
        }
        for (code, member, message) in doubles {
            self.error(code, &format!("{at}/{}", escaped(&member.name)), member.value, message);
        }
        Ok(members)
    }

    fn document(&mut self, node: Node<'_>) -> Read<Option<Document>> {
        let mut document = Document { version: None, id: None, statements: Vec::new() };
        let mut written = false;
        for Member { name, value } in self.members("", node, "A policy")? {
            match name.as_str() {
                "Version" => match (value.kind(), value.scalar()?.as_deref()) {
                    (Kind::String, Some("2012-10-17")) => {
                        document.version = Some(Located::new(Version::V2012, value, "/Version"));
                    }
                    (Kind::String, Some("2008-10-17")) => {
                        document.version = Some(Located::new(Version::V2008, value, "/Version"));
                    }
                    _ => {
                        let message =
                            "The version is \"2012-10-17\" or \"2008-10-17\": it names the policy language, not your edit.";
                        self.error("INVALID_VERSION", "/Version", value, message);
                    }
                },
                "Id" if value.kind() == Kind::String => {
                    document.id = value.scalar()?.map(|id| Located::new(id, value, "/Id"));
                }
                "Id" => self.error("DATA_TYPE_MISMATCH", "/Id", value, "An Id is a string."),
                "Statement" => {
                    written = true;
                    match value.items()? {
                        Some(items) => {
                            for (index, item) in items.into_iter().enumerate() {
                                self.statement(&mut document, &format!("/Statement/{index}"), item)?;
                            }
                            if document.statements.is_empty() && self.findings.is_empty() {
                                self.findings.push(missing_statement(value.span()));
                            }
                        }
                        None => self.statement(&mut document, "/Statement", value)?,
                    }
                }
                other => {
                    let message =
                        format!("`{other}` is not an element of a policy: Version, Id and Statement are, in this spelling.");
                    self.error("INVALID_POLICY_ELEMENT", &format!("/{}", escaped(other)), value, message);
                }
            }
        }
        if !written && node.kind() == Kind::Object {
            self.findings.push(missing_statement(node.span()));
        }
        Ok(Some(document))
    }

    fn statement(&mut self, document: &mut Document, at: &str, node: Node<'_>) -> Read<()> {
        if node.kind() != Kind::Object {
            self.error("DATA_TYPE_MISMATCH", at, node, "A statement is an object.");
            return Ok(());
        }
        let (mut sid, mut allow, mut principal, mut action, mut resource) = (None, None, None, None, None);
        let mut conditions = Vec::new();
        let (mut effect_written, mut action_written, mut resource_written) = (false, false, false);
        for Member { name, value } in self.members(at, node, "A statement")? {
            let at = &format!("{at}/{}", escaped(&name));
            match name.as_str() {
                "Sid" => sid = self.sid(at, value)?,
                "Effect" => {
                    effect_written = true;
                    match (value.kind(), value.scalar()?.as_deref()) {
                        (Kind::String, Some("Allow")) => allow = Some(true),
                        (Kind::String, Some("Deny")) => allow = Some(false),
                        _ => self.error("INVALID_EFFECT", at, value, "The effect is \"Allow\" or \"Deny\", in this spelling."),
                    }
                }
                "Action" | "NotAction" => {
                    if std::mem::replace(&mut action_written, true) {
                        self.error("UNSUPPORTED_ELEMENT_COMBINATION", at, value, "A statement has either Action or NotAction.");
                    }
                    let values = self.strings(at, value, Some("EMPTY_ARRAY_ACTION"))?;
                    action = Some(Element { negated: name == "NotAction", values });
                }
                "Resource" | "NotResource" => {
                    if std::mem::replace(&mut resource_written, true) {
                        let message = "A statement has either Resource or NotResource.";
                        self.error("UNSUPPORTED_ELEMENT_COMBINATION", at, value, message);
                    }
                    if self.kind == DocumentKind::Trust {
                        let message = "A trust policy has no resource: it is about the role it belongs to.";
                        self.error("ROLE_TRUST_POLICY_SYNTAX_ERROR_RESOURCE", at, value, message);
                    }
                    let values = self.strings(at, value, Some("EMPTY_ARRAY_RESOURCE"))?;
                    resource = Some(Element { negated: name == "NotResource", values });
                }
                "Principal" | "NotPrincipal" => {
                    if principal.is_some() {
                        let message = "A statement has either Principal or NotPrincipal.";
                        self.error("UNSUPPORTED_ELEMENT_COMBINATION", at, value, message);
                    }
                    let negated = name == "NotPrincipal";
                    self.principal_allowed(at, value, negated);
                    principal = Some(Element { negated, values: self.principals(at, value)? });
                }
                "Condition" => conditions = self.conditions(at, value)?,
                other => {
                    let message = format!("`{other}` is not an element of a statement. Elements have exact spelling.");
                    self.error("INVALID_POLICY_ELEMENT", at, value, message);
                }
            }
        }
        if !effect_written {
            self.error("MISSING_EFFECT", at, node, "A statement needs an Effect: Allow or Deny.");
        }
        if !action_written {
            self.error("MISSING_ACTION", at, node, "A statement needs Action or NotAction.");
        }
        if !resource_written && self.kind != DocumentKind::Trust {
            self.error("MISSING_RESOURCE", at, node, "A statement needs Resource or NotResource.");
        }
        if principal.is_none() && self.kind.has_principal() {
            let message = "A statement of a policy on a resource, a role included, needs a Principal.";
            self.error("MISSING_PRINCIPAL", at, node, message);
        }
        if let (Some(allow), Some(action)) = (allow, action) {
            let value = Statement { sid, allow, principal, action, resource, conditions };
            document.statements.push(Located::new(value, node, at));
        }
        Ok(())
    }

    fn sid(&mut self, at: &str, node: Node<'_>) -> Read<Option<Located<String>>> {
        let text = if node.kind() == Kind::String { node.scalar()? } else { None };
        // Services other than IAM allow more (S3 and SNS take spaces, for example).
        let more = self.kind == DocumentKind::Resource;
        match text {
            Some(sid) if sid.chars().all(|c| c.is_ascii_alphanumeric() || (more && !c.is_control())) => {
                Ok(Some(Located::new(sid, node, at)))
            }
            _ => {
                self.error("UNSUPPORTED_SID", at, node, "A Sid has letters and digits only.");
                Ok(None)
            }
        }
    }

    fn principal_allowed(&mut self, at: &str, node: Node<'_>, negated: bool) {
        let (code, message) = match self.kind {
            DocumentKind::Identity => (
                "UNSUPPORTED_PRINCIPAL",
                "A policy attached to a role, user or group has no Principal: it is about whom it is attached to.",
            ),
            DocumentKind::ServiceControl => ("SCP_SYNTAX_ERROR_PRINCIPAL", "A service control policy has no Principal."),
            DocumentKind::Trust if negated => (
                "ROLE_TRUST_POLICY_SYNTAX_ERROR_NOTPRINCIPAL",
                "NotPrincipal is not supported in a trust policy: name the principals, and narrow them with conditions.",
            ),
            DocumentKind::ResourceControl if negated => {
                ("UNSUPPORTED_PRINCIPAL", "A resource control policy has `\"Principal\": \"*\"`.")
            }
            DocumentKind::Trust | DocumentKind::Resource | DocumentKind::ResourceControl => return,
        };
        self.error(code, at, node, message);
    }

    fn principals(&mut self, at: &str, node: Node<'_>) -> Read<Vec<Located<PrincipalValue>>> {
        if node.kind() == Kind::String && node.scalar()?.as_deref() == Some("*") {
            let everyone = PrincipalValue { kind: "*", value: "*".to_owned() };
            return Ok(vec![Located::new(everyone, node, at)]);
        }
        if node.kind() != Kind::Object {
            let message = "A principal is \"*\" or an object such as {\"Federated\": \"<provider ARN>\"}.";
            self.error("INVALID_PRINCIPAL_FORMAT", at, node, message);
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for Member { name, value } in self.members(at, node, "A principal")? {
            let at = &format!("{at}/{}", escaped(&name));
            let kind = match name.as_str() {
                "AWS" => "AWS",
                "Federated" => "Federated",
                "Service" => "Service",
                "CanonicalUser" => "CanonicalUser",
                other => {
                    let message = format!("`{other}` is not a kind of principal: AWS, Federated, Service and CanonicalUser are.");
                    self.error("INVALID_PRINCIPAL_KEY", at, value, message);
                    continue;
                }
            };
            for Located { value, span, pointer } in self.strings(at, value, Some("EMPTY_ARRAY_PRINCIPAL"))? {
                all.push(Located { value: PrincipalValue { kind, value }, span, pointer });
            }
        }
        if all.is_empty() && self.findings.is_empty() {
            self.error("EMPTY_OBJECT_PRINCIPAL", at, node, "A principal names somebody.");
        }
        Ok(all)
    }

    fn conditions(&mut self, at: &str, node: Node<'_>) -> Read<Vec<ConditionEntry>> {
        let mut entries = Vec::new();
        for Member { name: operator, value: keys } in self.members(at, node, "A condition, holding operators,")? {
            let at = &format!("{at}/{}", escaped(&operator));
            let members = self.members(at, keys, "An operator, holding condition keys,")?;
            if members.is_empty() && keys.kind() == Kind::Object {
                let message = "The operator holds no condition key: without it the statement would apply unconditionally.";
                self.error("EMPTY_OBJECT_CONDITION", at, keys, message);
            }
            for Member { name, value } in members {
                let at = &format!("{at}/{}", escaped(&name));
                let key = Located::new(name, value, at);
                let values = self.strings(at, value, None)?;
                entries.push(ConditionEntry { operator: operator.clone(), key, values });
            }
        }
        Ok(entries)
    }

    /// A string (or number or boolean, as AWS takes them), or a list of those.
    fn strings(&mut self, at: &str, node: Node<'_>, empty: Option<&'static str>) -> Read<Vec<Located<String>>> {
        let (nodes, listed) = match node.items()? {
            Some(items) => (items, true),
            None => (vec![node], false),
        };
        if let (true, Some(code)) = (nodes.is_empty(), empty) {
            self.error(code, at, node, "The list is empty. It needs at least one value.");
        }
        let mut values = Vec::with_capacity(nodes.len());
        for (index, item) in nodes.into_iter().enumerate() {
            let at = if listed { format!("{at}/{index}") } else { at.to_owned() };
            match item.scalar()? {
                Some(value) => values.push(Located::new(value, item, &at)),
                None => {
                    self.error("DATA_TYPE_MISMATCH", &at, item, "Expected a string, or a list of strings.");
                }
            }
        }
        Ok(values)
    }
}

/// A member's name inside a JSON pointer (RFC 6901, section 3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

//! From claims to condition keys, session tags and roles.

use crate::{
    crypto::{Refusal, refusal},
    domain::{
        iam::AttributeMapping,
        name::AccountId,
        session::{IdentityAssertion, SessionTags},
    },
    policy::{CompiledRole, Context, Explanation, evaluate::explain_federated},
    store::Snapshot,
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

const PRINCIPAL_TAG: &str = "https://aws.amazon.com/SAML/Attributes/PrincipalTag:";
const TRANSITIVE: &str = "https://aws.amazon.com/SAML/Attributes/TransitiveTagKeys";

/// Prefix of the keys that hold an assertion's attributes under their own names.
pub const SAML_ATTRIBUTE: &str = "saml:attribute/";

/// Claim with session tags (IAM user guide, "Passing session tags using AssumeRoleWithWebIdentity").
pub const TAGS_CLAIM: &str = "https://aws.amazon.com/tags";
/// Claim with the source identity.
pub const SOURCE_IDENTITY_CLAIM: &str = "https://aws.amazon.com/source_identity";

/// Claims of a token as condition keys: `<issuer without scheme>:<claim>`. Members of objects are joined with `/`
/// (`…:realm_access/roles`); lists of plain values keep all of them; anything deeper is left out.
#[must_use]
pub fn token_claims(issuer: &str, claims: &Map<String, Value>) -> BTreeMap<String, Vec<String>> {
    let mut keys = BTreeMap::new();
    for (name, value) in claims {
        if name != TAGS_CLAIM && name != SOURCE_IDENTITY_CLAIM {
            collect(&mut keys, &format!("{issuer}:{name}"), value, 3);
        }
    }
    keys
}

fn collect(keys: &mut BTreeMap<String, Vec<String>>, key: &str, value: &Value, depth: u8) {
    match value {
        Value::Object(members) if depth > 0 => {
            for (name, value) in members {
                collect(keys, &format!("{key}/{name}"), value, depth - 1);
            }
        }
        Value::Array(list) => {
            let plain: Vec<String> = list.iter().filter_map(scalar).collect();
            if !plain.is_empty() {
                keys.insert(key.to_owned(), plain);
            }
        }
        other => {
            if let Some(text) = scalar(other) {
                keys.insert(key.to_owned(), vec![text]);
            }
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Session tags of a SAML assertion: one attribute per tag, and one that lists the transitive keys.
///
/// # Errors
/// `attribute_malformed` for a tag with several values, a duplicate key, or a transitive key that is no tag.
pub fn saml_tags(attributes: &BTreeMap<String, Vec<String>>) -> Result<SessionTags, Refusal> {
    let mut tags = Vec::new();
    for (name, values) in attributes {
        let Some(key) = name.strip_prefix(PRINCIPAL_TAG) else { continue };
        let [value] = values.as_slice() else {
            return Err(refusal("attribute_malformed", format!("the session tag {key} must have one value")));
        };
        tags.push((key.to_owned(), value.clone()));
    }
    let transitive = attributes.get(TRANSITIVE).map(Vec::as_slice).unwrap_or_default();
    SessionTags::new(tags, transitive).map_err(|error| refusal("attribute_malformed", error.public))
}

/// What a mapping makes of attributes or claims.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    /// Short name → values; none empty.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// The provider's own session tags and the mapped ones.
    pub tags: SessionTags,
    /// Who it is, where an attribute says so instead of NameID or `sub`.
    pub subject: Option<String>,
}

impl Mapped {
    /// Applies a mapping to an assertion whose own session tags are known. `values` gives those of an attribute or claim.
    ///
    /// A tag whose attribute has no value is not made, one whose attribute has several is refused, since a tag has one; what
    /// the provider itself tags wins.
    ///
    /// # Errors
    /// `attribute_malformed`; `subject_blank` when the subject is not exactly one value.
    pub fn new(mapping: &AttributeMapping, own: &SessionTags, values: impl Fn(&str) -> Vec<String>) -> Result<Self, Refusal> {
        let attributes = mapping.attributes.iter().map(|(short, name)| (short.clone(), values(name)));
        Ok(Self {
            attributes: attributes.filter(|(_, values)| !values.is_empty()).collect(),
            tags: mapped_tags(own, mapping, &values)?,
            subject: mapped_subject(mapping, &values)?,
        })
    }

    /// For the flight recorder: what came out, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let short = self.attributes.iter().map(|(short, values)| format!("{short} = {}", values.join(", ")));
        let tags = self.tags.iter().map(|(key, value)| format!("tag {key} = {value}"));
        let subject = self.subject.iter().map(|subject| format!("the person is {subject}"));
        let all: Vec<String> = subject.chain(short).chain(tags).collect();
        if all.is_empty() { "nothing is mapped".to_owned() } else { all.join("; ") }
    }
}

fn mapped_tags(
    own: &SessionTags,
    mapping: &AttributeMapping,
    values: impl Fn(&str) -> Vec<String>,
) -> Result<SessionTags, Refusal> {
    let mut tags: Vec<(String, String)> = own.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    for (key, name) in &mapping.tags {
        let taken = tags.iter().any(|(tag, _)| tag.eq_ignore_ascii_case(key));
        match values(name).as_slice() {
            _ if taken => {}
            [] => {}
            [one] => tags.push((key.clone(), one.clone())),
            _ => return Err(refusal("attribute_malformed", format!("`{name}` has several values, the session tag {key} one"))),
        }
    }
    let transitive: Vec<String> = own.transitive().map(|(key, _)| key.to_owned()).collect();
    SessionTags::new(tags, &transitive).map_err(|error| refusal("attribute_malformed", error.public))
}

fn mapped_subject(mapping: &AttributeMapping, values: impl Fn(&str) -> Vec<String>) -> Result<Option<String>, Refusal> {
    let Some(name) = &mapping.subject else { return Ok(None) };
    match values(name).as_slice() {
        [one] if !one.trim().is_empty() => Ok(Some(one.clone())),
        found => Err(refusal("subject_blank", format!("`{name}` names the person, and has {} values", found.len()))),
    }
}

/// Session tags of a token:
/// `{"https://aws.amazon.com/tags": {"principal_tags": {"Team": ["blue"]}, "transitive_tag_keys": ["Team"]}}`.
///
/// # Errors
/// `attribute_malformed`.
pub fn token_tags(claims: &Map<String, Value>) -> Result<SessionTags, Refusal> {
    let malformed = || refusal("attribute_malformed", format!("the claim {TAGS_CLAIM} is malformed"));
    let Some(claim) = claims.get(TAGS_CLAIM) else { return Ok(SessionTags::default()) };
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(malformed);
    let mut tags = Vec::new();
    if let Some(list) = claim.get("principal_tags") {
        for (key, value) in list.as_object().ok_or_else(malformed)? {
            let value = match value {
                Value::Array(values) => match values.as_slice() {
                    [one] => text(one)?,
                    _ => return Err(malformed()),
                },
                one => text(one)?,
            };
            tags.push((key.clone(), value));
        }
    }
    let transitive = match claim.get("transitive_tag_keys") {
        None => Vec::new(),
        Some(list) => list.as_array().ok_or_else(malformed)?.iter().map(text).collect::<Result<Vec<_>, _>>()?,
    };
    SessionTags::new(tags, &transitive).map_err(|error| refusal("attribute_malformed", error.public))
}

/// A role a person may take, and why.
#[derive(Clone, Debug)]
pub struct RoleOffer {
    /// The role.
    pub role: Arc<CompiledRole>,
    /// Its trust policy, laid out for this person.
    pub explanation: Explanation,
}

/// The roles whose trust policies let this person in, by account and name.
#[must_use]
pub fn takeable_roles(snapshot: &Snapshot, assertion: &IdentityAssertion, base: &Context) -> Vec<Arc<CompiledRole>> {
    takeable(snapshot, assertion, None, base, |role, _| role.clone())
}

/// Those of one account, without a look at the others.
#[must_use]
pub fn takeable_roles_in(
    snapshot: &Snapshot,
    assertion: &IdentityAssertion,
    account: &AccountId,
    base: &Context,
) -> Vec<Arc<CompiledRole>> {
    takeable(snapshot, assertion, Some(account), base, |role, _| role.clone())
}

/// The same roles, each with the reasons.
#[must_use]
pub fn role_offers(snapshot: &Snapshot, assertion: &IdentityAssertion, base: &Context) -> Vec<RoleOffer> {
    takeable(snapshot, assertion, None, base, |role, context| RoleOffer {
        role: role.clone(),
        explanation: explain_federated(role, assertion, snapshot.caps(None, Some(&role.role.account)), context),
    })
}

fn takeable<T>(
    snapshot: &Snapshot,
    assertion: &IdentityAssertion,
    within: Option<&AccountId>,
    base: &Context,
    each: impl FnMut(&Arc<CompiledRole>, &Context) -> T,
) -> Vec<T> {
    let standing = |account: &AccountId| snapshot.standing(&assertion.provider, account);
    snapshot.takeable.for_assertion(assertion, within, base, |account| snapshot.caps(None, Some(account)), standing, each)
}

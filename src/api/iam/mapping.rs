//! What another attribute mapping would make of somebody who signed in lately. For pages; nothing is changed.

use super::{Iam, sign_ins};
use crate::{
    api::apply::check_mapping,
    domain::{
        Error, ErrorKind,
        iam::{AttributeMapping, IdentityProvider, ProviderKind},
        session::{IdentityAssertion, SessionTags},
    },
    federation::mapping::{Mapped, SAML_ATTRIBUTE, takeable_roles},
    gateway::{Access, Call, Operation, Read, Scope, person_context},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of a mapping.
const MAX_LINES: usize = 16_384;

/// A mapping as it stands in the organization's document.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct MappingLines {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    identity_sources: MappingTables,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct MappingTables {
    attributes: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

/// The mapping of a source as lines of the organization's document; none where a source has no mapping.
pub(super) fn lines(source: &IdentityProvider) -> Option<String> {
    let AttributeMapping { attributes, tags, subject } = source.mapping()?.clone();
    toml::to_string(&MappingLines { subject, identity_sources: MappingTables { attributes, tags } }).ok()
}

pub(super) fn read(lines: &str) -> Result<AttributeMapping, Error> {
    if lines.len() > MAX_LINES {
        return Err(Error::invalid(format!("A mapping has at most {MAX_LINES} bytes.")));
    }
    let read: MappingLines =
        toml::from_str(lines).map_err(|error| Error::invalid(format!("The mapping: {}", error.message())))?;
    let MappingTables { attributes, tags } = read.identity_sources;
    let mapping = AttributeMapping { attributes, tags, subject: read.subject };
    check_mapping("", &mapping)?;
    Ok(mapping)
}

/// Applies a mapping to a recorded sign-in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewMapping {
    /// Audit record of the sign-in.
    pub event_id: String,
    /// The mapping, as lines of the organization's document.
    pub lines: String,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct MappingPreview {
    /// Who it would be.
    pub subject: String,
    /// Condition key → values, of the mapped names alone.
    pub attributes: Vec<(String, String)>,
    /// Names of attributes or claims that the mapping asks for and this sign-in did not bring.
    pub absent: Vec<String>,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// `account/role`, and whether it would be gained (`Some(true)`), lost (`Some(false)`) or kept.
    pub roles: Vec<(String, Option<bool>)>,
}

impl Operation for PreviewMapping {
    type Service = Iam;
    type Mode = Read;
    type Output = MappingPreview;
    const NAME: &'static str = "PreviewMapping";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![sign_ins::access(scope)?]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<MappingPreview, Error> {
        let missing = || Error::new(ErrorKind::NoSuchEntity, "That sign-in, or its identity source, is not on record any more.");
        let recorded = call.tx.recording(&self.event_id).await?.and_then(|attempt| attempt.identity).ok_or_else(missing)?;
        let source = call.tx.snapshot.identity_source(&recorded.provider.name).cloned();
        let source = source.filter(|source| source.resource() == recorded.provider.resource).ok_or_else(missing)?;
        let mapping = read(&self.lines)?;
        let Remapped { identity, mapped, prefix, absent } = remapped(&source, &recorded, &mapping)?;
        let roles = |identity: &IdentityAssertion| -> BTreeSet<String> {
            let context = person_context(&call.tx.snapshot, identity, None, &call.caller.origin);
            let roles = takeable_roles(&call.tx.snapshot, identity, &context);
            roles.iter().map(|role| format!("{}/{}", role.role.account, role.role.name)).collect()
        };
        let (before, after) = (roles(&recorded), roles(&identity));
        let roles = before.union(&after).map(|role| {
            let change = match (before.contains(role), after.contains(role)) {
                (false, _) => Some(true),
                (true, false) => Some(false),
                (true, true) => None,
            };
            (role.clone(), change)
        });
        Ok(MappingPreview {
            subject: identity.subject.clone(),
            attributes: mapped
                .attributes
                .iter()
                .map(|(short, values)| (format!("{prefix}:{short}"), values.join(", ")))
                .collect(),
            absent,
            tags: identity.tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            roles: roles.collect(),
        })
    }
}

struct Remapped {
    identity: IdentityAssertion,
    mapped: Mapped,
    /// Of condition keys.
    prefix: String,
    absent: Vec<String>,
}

/// A recorded assertion under another mapping. What the present mapping made is taken back first.
fn remapped(source: &IdentityProvider, recorded: &IdentityAssertion, mapping: &AttributeMapping) -> Result<Remapped, Error> {
    let (prefix, raw) = match &source.kind {
        ProviderKind::Saml(_) => ("saml".to_owned(), SAML_ATTRIBUTE.to_owned()),
        ProviderKind::Oidc(oidc) => (oidc.issuer_path().to_owned(), format!("{}:", oidc.issuer_path())),
        ProviderKind::Directory => return Err(Error::invalid("The directory has no attribute mapping.")),
    };
    let present = source.mapping().cloned().unwrap_or_default();
    let mut identity = recorded.clone();
    let values = |name: &str| recorded.claims.get(&format!("{raw}{name}")).cloned().unwrap_or_default();
    let made = |tag: &str| present.tags.keys().any(|key| key.eq_ignore_ascii_case(tag));
    let own = recorded.tags.iter().filter(|(tag, _)| !made(tag)).map(|(tag, value)| (tag.to_owned(), value.to_owned()));
    let transitive: Vec<String> = recorded.tags.transitive().map(|(tag, _)| tag.to_owned()).filter(|tag| !made(tag)).collect();
    let own = SessionTags::new(own, &transitive)?;
    let mapped = Mapped::new(mapping, &own, values)
        .map_err(|refusal| Error::invalid(format!("With this mapping the sign-in is refused: {}", refusal.detail)))?;
    present.attributes.keys().for_each(|short| drop(identity.claims.remove(&format!("{prefix}:{short}"))));
    identity.claims.extend(mapped.attributes.iter().map(|(short, values)| (format!("{prefix}:{short}"), values.clone())));
    identity.tags = mapped.tags.clone();
    if let Some(subject) = &mapped.subject {
        identity.subject.clone_from(subject);
        identity.claims.insert(format!("{prefix}:sub"), vec![subject.clone()]);
    }
    let asked = mapping.attributes.values().chain(mapping.tags.values()).filter(|name| values(name).is_empty());
    let absent: BTreeSet<String> = asked.cloned().collect();
    Ok(Remapped { identity, mapped, prefix, absent: absent.into_iter().collect() })
}

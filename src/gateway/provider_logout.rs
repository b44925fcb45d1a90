//! Sessions that a provider ended: kept under what the provider calls them, with the instant.

use crate::domain::session::{PortalSession, ProviderSession};
use crate::store::EphemeralKind;

/// Names these entries in the ephemeral store.
pub(crate) const KIND: EphemeralKind = EphemeralKind::lasting("provider-logout");

/// The keys that a provider's request writes: the sessions it names, or all of the subject's.
pub(crate) fn keys(source: &str, subject: Option<&str>, indexes: &[String]) -> Vec<String> {
    match (subject, indexes) {
        (Some(subject), []) => vec![format!("{source} {subject}")],
        (Some(subject), indexes) => indexes.iter().map(|index| format!("{source} {subject} {index}")).collect(),
        (None, indexes) => indexes.iter().map(|index| format!("{source}  {index}")).collect(),
    }
}

/// The keys under which the end of this session may stand.
pub(crate) fn keys_of(session: &PortalSession) -> Vec<String> {
    let source = &session.identity.provider.name;
    let (subject, index) = match &session.at_provider {
        None => return Vec::new(),
        Some(ProviderSession::Saml { name_id, index }) => (&name_id.value, index),
        Some(ProviderSession::Oidc { subject, sid, .. }) => (subject, sid),
    };
    let index: Vec<String> = index.iter().cloned().collect();
    let mut keys = keys(source, Some(subject), &[]);
    if !index.is_empty() {
        keys.extend(self::keys(source, Some(subject), &index));
        keys.extend(self::keys(source, None, &index));
    }
    keys
}

//! Sessions that a provider ended: kept by person and by the provider's own name for the session, with the instant.

use crate::domain::session::{PortalSession, ProviderSession};

/// Names these entries in the ephemeral store.
pub(crate) const KIND: &str = "provider-logout";

/// The keys that a provider's request writes: the sessions it names, or all of the person's.
pub(crate) fn keys(person: &str, indexes: &[String]) -> Vec<String> {
    if indexes.is_empty() {
        return vec![person.to_owned()];
    }
    indexes.iter().map(|index| format!("{person} {index}")).collect()
}

/// The keys under which the end of this session may stand.
pub(crate) fn keys_of(session: &PortalSession) -> Vec<String> {
    let person = session.identity.person();
    let index = match &session.at_provider {
        None => return Vec::new(),
        Some(ProviderSession::Saml { index, .. }) => index,
        Some(ProviderSession::Oidc { sid, .. }) => sid,
    };
    let own = index.as_ref().map(|index| format!("{person} {index}"));
    std::iter::once(person).chain(own).collect()
}

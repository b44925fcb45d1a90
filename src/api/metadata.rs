//! Keeping providers' metadata fresh: certificates roll over, documents expire.

use super::apply::Operator;
use crate::{
    crypto::sha256_hex,
    domain::{
        Error, ErrorKind,
        iam::{IdentityProvider, ProviderKind, ProviderOwner, SamlProvider},
        name::ProviderName,
    },
    federation::metadata::{self, IdpMetadata},
    gateway::{Access, Call, Entry, Gateway, Operation, Scope, Write},
};
use serde::{Deserialize, Serialize};

/// What the broker does by itself.
pub const TABLE: &[Entry] = &[Entry::inner::<RenewMetadata>()];

/// How often published metadata is fetched anew, in seconds.
pub const RENEWAL_SECONDS: u64 = 3600;

/// Replaces the metadata of a SAML provider by what it publishes now.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenewMetadata {
    /// Whose provider it is.
    pub owner: ProviderOwner,
    /// Its name.
    pub name: ProviderName,
    /// The document, fetched and checked.
    pub metadata: String,
    /// SHA-256 of the document it was compared with, in hex: if an administrator changed the provider meanwhile, theirs counts.
    pub replaces: String,
}

impl Operation for RenewMetadata {
    type Service = Operator;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "RenewMetadata";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: "the broker itself keeps the metadata that an administrator pointed it to" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let providers = &call.tx.snapshot.providers;
        let found = providers.iter().find(|provider| provider.owner == self.owner && provider.name == self.name).cloned();
        let Some((provider, ProviderKind::Saml(saml))) = found.as_ref().map(|provider| (provider, &provider.kind)) else {
            return Err(Error::new(ErrorKind::NoSuchEntity, "There is no such SAML provider."));
        };
        let parse = |text: &str| metadata::parse(text).map_err(|refusal| Error::invalid(refusal.detail));
        let (before, after) = (parse(&saml.metadata)?, parse(&self.metadata)?);
        if sha256_hex(&saml.metadata) != self.replaces || before.entity_id != after.entity_id {
            return Err(Error::invalid("The provider was changed meanwhile."));
        }
        let new = SamlProvider { metadata: self.metadata, ..saml.clone() };
        call.tx.note("provider", &self.name);
        call.tx.note("before", fingerprints(&before));
        call.tx.note("after", fingerprints(&after));
        call.tx.put_provider(&IdentityProvider { kind: ProviderKind::Saml(new), ..(**provider).clone() }).await
    }
}

/// SHA-256 of each signing certificate: what an administrator compares.
fn fingerprints(idp: &IdpMetadata) -> Vec<String> {
    idp.certificates.iter().map(|certificate| sha256_hex(&certificate.der)).collect()
}

/// Fetches every published metadata document and stores those that changed, until it is dropped.
pub async fn keep_fresh(gateway: Gateway) {
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(RENEWAL_SECONDS));
    loop {
        tick.tick().await;
        let providers = gateway.snapshot().providers.clone();
        for provider in providers {
            let ProviderKind::Saml(saml) = &provider.kind else { continue };
            let outcome = match gateway.broker.federation.renewed(saml).await {
                Ok(None) => continue,
                Ok(Some(metadata)) => {
                    let (owner, name) = (provider.owner.clone(), provider.name.clone());
                    let replaces = sha256_hex(&saml.metadata);
                    gateway.call(&gateway.operator(), RenewMetadata { owner, name, metadata, replaces }).await
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => tracing::info!(provider = %provider.name, "the provider's metadata has changed and is stored"),
                Err(error) => tracing::warn!(
                    provider = %provider.name, error = %error.public, private = error.private.as_deref(),
                    "the provider's metadata could not be renewed; the last good one serves on"
                ),
            }
        }
    }
}

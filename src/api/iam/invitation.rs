//! Setup links: an administrator of an identity provider, who has no account here, connects it alone.
//!
//! Whoever makes the link has decided name, button and protocol of the source. Its holder sees our values, gives the
//! provider's, and can do nothing else; the link is good for one source. A new source grants no role until a trust policy
//! names it.

use super::{
    Iam,
    setup::{ClientRegistration, check_free, checked_label, create, draft},
    sources::{Published, SourcePreview, may, ours_for_oidc, ours_for_saml, understand},
};
use crate::{
    domain::{Error, ErrorKind, Secret, Timestamp, name::ProviderName},
    gateway::{Access, Call, Issue, Operation, Read, Scope, Write},
    store::Ephemeral,
};
use serde::{Deserialize, Serialize};

const KIND: &str = "source-invitation";
/// How long a link is good, in seconds.
pub const INVITATION_SECONDS: i64 = 7 * 86_400;
/// How often a link makes the broker read what a provider publishes.
const MAX_LOOKS: u32 = 50;

/// What a source will speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceProtocol {
    /// SAML 2.0.
    Saml,
    /// OpenID Connect.
    Oidc,
}

/// A link at rest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Invitation {
    name: ProviderName,
    label: String,
    protocol: SourceProtocol,
    looks: u32,
    expires: Timestamp,
}

impl Invitation {
    /// Refuses what speaks another protocol.
    fn check(&self, published: &Published) -> Result<(), Error> {
        match (self.protocol, published) {
            (SourceProtocol::Saml, Published::Saml { .. }) | (SourceProtocol::Oidc, Published::Oidc { .. }) => Ok(()),
            (SourceProtocol::Saml, _) => Err(Error::invalid("This link is for a SAML provider: give its metadata.")),
            (SourceProtocol::Oidc, _) => Err(Error::invalid("This link is for an OpenID provider: give its discovery address.")),
        }
    }
}

async fn find(ephemeral: &Ephemeral, token: &Secret<String>) -> Result<Invitation, Error> {
    let found = ephemeral.get(KIND, token.expose()).await?;
    found.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "This setup link was used, or is too old. Ask for another one."))
}

/// Makes a setup link.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InviteSource {
    /// Name of the source to be.
    pub name: ProviderName,
    /// On its button; empty: the name.
    pub label: String,
    /// What it will speak.
    pub protocol: SourceProtocol,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct SetupLink {
    /// Shown once: the address to send.
    #[serde(skip)]
    pub url: Secret<String>,
    /// Until when it is good.
    pub expires: Timestamp,
}

impl Operation for InviteSource {
    type Service = Iam;
    type Mode = Issue;
    type Output = SetupLink;
    const NAME: &'static str = "InviteSource";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let action = match self.protocol {
            SourceProtocol::Saml => "iam:CreateSAMLProvider",
            SourceProtocol::Oidc => "iam:CreateOpenIDConnectProvider",
        };
        may(scope, action, self.name.as_str())
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SetupLink, Error> {
        check_free(&self.name, &call.tx.snapshot)?;
        let label = checked_label(&self.name, &self.label)?;
        let expires = call.caller.origin.time.plus_seconds(INVITATION_SECONDS);
        let token = call.broker.random.token();
        call.tx.note("source", &self.name);
        let invitation = Invitation { name: self.name, label, protocol: self.protocol, looks: 0, expires };
        call.broker.store.ephemeral().put(KIND, &token, &invitation, expires).await?;
        let url = Secret::new(call.broker.federation.addresses.at(&format!("/setup/{token}")));
        Ok(SetupLink { url, expires })
    }
}

/// What a link is for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookUpInvitation {
    /// From the link.
    pub token: Secret<String>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct InvitedSource {
    /// Who invites.
    pub organization: String,
    /// The button.
    pub label: String,
    /// What it will speak.
    pub protocol: SourceProtocol,
    /// What the provider needs of us: name and value.
    pub ours: Vec<(String, String)>,
    /// Until when the link is good.
    pub expires: Timestamp,
}

impl Operation for LookUpInvitation {
    type Service = Iam;
    type Mode = Read;
    type Output = InvitedSource;
    const NAME: &'static str = "LookUpInvitation";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the setup link that an administrator made is the proof" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<InvitedSource, Error> {
        let Invitation { name, label, protocol, expires, .. } = find(call.broker.store.ephemeral(), &self.token).await?;
        let addresses = &call.broker.federation.addresses;
        let ours = match protocol {
            SourceProtocol::Saml => ours_for_saml(addresses),
            SourceProtocol::Oidc => ours_for_oidc(addresses, &name),
        };
        let organization = call.tx.snapshot.organization.as_ref().map(|organization| organization.name.clone());
        Ok(InvitedSource { organization: organization.unwrap_or_default(), label, protocol, ours, expires })
    }
}

/// What a provider's own words would come to, for the holder of a link.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewInvitedSource {
    /// From the link.
    pub token: Secret<String>,
    /// Metadata, or the address of metadata or discovery.
    pub text: String,
}

impl Operation for PreviewInvitedSource {
    type Service = Iam;
    type Mode = Read;
    type Output = SourcePreview;
    const NAME: &'static str = "PreviewInvitedSource";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public {
            because: "the setup link that an administrator made is the proof; each reads a bounded number of times",
        })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SourcePreview, Error> {
        let ephemeral = call.broker.store.ephemeral();
        let mut invitation = find(ephemeral, &self.token).await?;
        if invitation.looks >= MAX_LOOKS {
            return Err(Error::invalid("This link was tried too often. Ask for another one."));
        }
        invitation.looks += 1;
        ephemeral.replace(KIND, self.token.expose(), &invitation, invitation.expires).await?;
        let preview = understand(&call.broker.federation, call.caller.origin.time, &self.text).await?;
        invitation.check(&preview.published)?;
        Ok(preview)
    }
}

/// Uses a link up: the source exists.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// From the link.
    pub token: Secret<String>,
    /// From [`PreviewInvitedSource`].
    pub published: Published,
    /// For an OpenID provider.
    pub client: Option<ClientRegistration>,
}

impl Operation for AcceptInvitation {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "AcceptInvitation";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the setup link that an administrator made is the proof; it is good for one source" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let ephemeral = call.broker.store.ephemeral();
        let invitation = find(ephemeral, &self.token).await?;
        invitation.check(&self.published)?;
        let source = draft(invitation.name, &invitation.label, self.published, self.client)?;
        create(&mut call.tx, source).await?;
        // Burned last: a mistake in the form does not cost the link. Changes come one after the other, so that the second
        // of two finds the name taken.
        let burned: Option<Invitation> = ephemeral.take(KIND, self.token.expose()).await?;
        burned.map(drop).ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "This setup link was used."))
    }
}

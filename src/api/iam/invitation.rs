//! Setup links: an administrator of an identity provider, who has no account here, connects it alone.
//!
//! Whoever makes the link has decided name, button and protocol of the source. Its holder sees our values, gives the
//! provider's, and can do nothing else; the link is good for one source that no trust policy names yet.

use super::{
    Iam,
    setup::{ClientRegistration, check_free, checked_label, create, draft, trusted_already},
    sources::{Published, SourcePreview, may, ours_for_oidc, ours_for_saml, understand},
};
use crate::{
    crypto::sha256_hex,
    domain::{Error, ErrorKind, Secret, Timestamp, name::ProviderName},
    gateway::{Access, Call, Issue, Operation, Read, Scope, Write},
    store::{Ephemeral, EphemeralKind, Snapshot},
};
use serde::{Deserialize, Serialize};

/// By the name of the source: a new link for it replaces the old one.
const KIND: EphemeralKind = EphemeralKind::lasting("source-invitation");
/// Marks a link with which something is being read.
const LOOKING: EphemeralKind = EphemeralKind::passing("source-invitation-look");
/// How long that takes at most, in seconds.
const LOOKING_SECONDS: i64 = 30;
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
    /// In the audit records of the link's making and of its use.
    id: String,
    /// SHA-256 of the secret in the link.
    secret: String,
    inviter: String,
    name: ProviderName,
    label: String,
    protocol: SourceProtocol,
    looks: u32,
    /// What the holder was shown last: nothing else can be accepted.
    seen: Option<Published>,
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

/// The link's invitation. A link is `<name>~<secret>`.
async fn find(ephemeral: &Ephemeral, token: &Secret<String>) -> Result<Invitation, Error> {
    let gone =
        || Error::new(ErrorKind::NoSuchEntity, "This setup link was used or replaced, or is too old. Ask for another one.");
    let (name, secret) = token.expose().rsplit_once('~').ok_or_else(gone)?;
    let found: Option<Invitation> = ephemeral.get(KIND, name).await?;
    found.filter(|invitation| invitation.secret == sha256_hex(secret)).ok_or_else(gone)
}

/// Ends the link for a name, if there is one.
pub(super) async fn withdraw(ephemeral: &Ephemeral, name: &ProviderName) -> Result<(), Error> {
    ephemeral.delete(KIND, name.as_str()).await
}

/// Refuses to hand somebody else what trust policies wait for.
fn check_untrusted(resource: &str, snapshot: &Snapshot) -> Result<(), Error> {
    match trusted_already(resource, snapshot) {
        None => Ok(()),
        Some(role) => Err(Error::invalid(format!(
            "The trust policy of {role} names {resource} already: whoever has the link could take that role at once. Create the source here."
        ))),
    }
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
        if self.protocol == SourceProtocol::Saml {
            check_untrusted(&format!("saml-provider/{}", self.name), &call.tx.snapshot)?;
        }
        let label = checked_label(&self.name, &self.label)?;
        let expires = call.caller.origin.time.plus_seconds(INVITATION_SECONDS);
        let (id, secret) = (call.broker.random.uuid(), call.broker.random.token());
        let url = Secret::new(call.broker.federation.addresses.at(&format!("/setup/{}~{secret}", self.name)));
        call.tx.note("source", &self.name);
        call.tx.note("invitation", &id);
        let invitation = Invitation {
            id,
            secret: sha256_hex(&secret),
            inviter: call.caller.describe(),
            name: self.name,
            label,
            protocol: self.protocol,
            looks: 0,
            seen: None,
            expires,
        };
        call.broker.store.ephemeral().put(KIND, invitation.name.as_str(), &invitation, expires).await?;
        Ok(SetupLink { url, expires })
    }
}

/// What a link is for.
#[derive(Debug, Serialize, Deserialize)]
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
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewInvitedSource {
    /// From the link.
    pub token: Secret<String>,
    /// Metadata, or the address of metadata or discovery.
    pub text: String,
}

impl Operation for PreviewInvitedSource {
    type Service = Iam;
    type Mode = Issue;
    type Output = SourcePreview;
    const NAME: &'static str = "PreviewInvitedSource";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public {
            because: "the setup link that an administrator made is the proof; each reads a bounded number of times",
        })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SourcePreview, Error> {
        let (ephemeral, now) = (call.broker.store.ephemeral(), call.caller.origin.time);
        let Invitation { id, name, .. } = find(ephemeral, &self.token).await?;
        call.tx.note("source", &name);
        call.tx.note("invitation", &id);
        // One at a time, so that the count holds.
        if !ephemeral.put_new(LOOKING, name.as_str(), &(), now.plus_seconds(LOOKING_SECONDS)).await? {
            return Err(Error::invalid("Another check with this link is not finished. Try again in a moment."));
        }
        let outcome = look(call, &self).await;
        ephemeral.delete(LOOKING, name.as_str()).await?;
        outcome
    }
}

async fn look(call: &Call<'_, PreviewInvitedSource>, asked: &PreviewInvitedSource) -> Result<SourcePreview, Error> {
    let ephemeral = call.broker.store.ephemeral();
    // As it is now that nobody else counts.
    let mut invitation = find(ephemeral, &asked.token).await?;
    if invitation.looks >= MAX_LOOKS {
        return Err(Error::invalid("This link was tried too often. Ask for another one."));
    }
    invitation.looks += 1;
    ephemeral.replace(KIND, invitation.name.as_str(), &invitation, invitation.expires).await?;
    let preview = understand(&call.broker.federation, call.caller.origin.time, &asked.text).await;
    let preview = preview.map_err(|error| match asked.text.trim_start().starts_with('<') {
        true => error,
        // What else answers there is not for somebody from outside.
        false => Error {
            public: "Nothing that can be used was found at that address. The address of an OpenID provider's discovery ends in \
                     /.well-known/openid-configuration; SAML metadata can also be pasted."
                .to_owned(),
            private: Some(error.public),
            kind: ErrorKind::InvalidInput,
        },
    })?;
    invitation.check(&preview.published)?;
    invitation.seen = Some(preview.published.clone());
    ephemeral.replace(KIND, invitation.name.as_str(), &invitation, invitation.expires).await?;
    Ok(preview)
}

/// Uses a link up: the source exists, made of what its holder was shown last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// From the link.
    pub token: Secret<String>,
    /// [`Published::digest`] of what the holder says yes to.
    pub digest: String,
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
        call.tx.note("invitation", &invitation.id);
        call.tx.note("inviter", &invitation.inviter);
        let seen = invitation.seen.filter(|seen| seen.digest() == self.digest);
        let seen = seen.ok_or_else(|| Error::invalid("Check what your provider publishes once more, then connect."))?;
        let source = draft(invitation.name, &invitation.label, seen, self.client)?;
        let created = match check_untrusted(&source.resource(), &call.tx.snapshot) {
            Ok(()) => create(&mut call.tx, ephemeral, source).await,
            Err(error) => Err(error),
        };
        // Whom else the organization trusts is not for somebody from outside.
        created.map_err(|error| match error.kind {
            ErrorKind::InvalidInput | ErrorKind::AlreadyExists => Error {
                public: "This provider can't be connected by a link. Tell who sent it to you.".to_owned(),
                private: Some(error.public),
                kind: ErrorKind::InvalidInput,
            },
            _ => error,
        })
    }
}

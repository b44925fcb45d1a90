//! IAM entities: roles, policies, identity providers.

use super::{
    Arn, Secret, Timestamp,
    name::{AccountId, InstanceProfileName, PolicyName, ProviderName, RoleName},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Shortest session, in seconds (STS API reference, `DurationSeconds`).
pub const MIN_SESSION_SECONDS: u32 = 900;
/// Longest session a role may allow, in seconds (IAM API reference, `MaxSessionDuration`).
pub const MAX_SESSION_SECONDS: u32 = 43_200;
/// Longest session of a role taken from another role's session, in seconds (IAM user guide, "role chaining").
pub const MAX_CHAINED_SESSION_SECONDS: u32 = 3_600;

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The account it lives in.
    pub account: AccountId,
    /// Unique in the account, without regard to case.
    pub name: RoleName,
    /// `/` or `/a/b/`.
    pub path: String,
    /// `AROA…`: never reused, so a role made anew does not inherit sessions or trust.
    pub id: String,
    /// For people.
    pub description: String,
    /// The trust policy, as JSON text.
    pub trust_policy: Arc<str>,
    /// Longest session, in seconds: 3600 … 43200.
    pub max_session_seconds: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Inline policies by name, as JSON text.
    pub inline_policies: BTreeMap<PolicyName, Arc<str>>,
    /// ARNs of attached managed policies, sorted.
    pub attached_policies: Vec<Arn>,
}

impl Role {
    /// `arn:aws:iam::<account>:role<path><name>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::iam(&self.account, &format!("role{}{}", self.path, self.name))
    }
}

/// A name under which a machine finds its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceProfile {
    /// The account it lives in.
    pub account: AccountId,
    /// Unique in the account, without regard to case.
    pub name: InstanceProfileName,
    /// `/` or `/a/b/`.
    pub path: String,
    /// `AIPA…`.
    pub id: String,
    /// Unique id of its role; it has one at most.
    pub role_id: Option<String>,
    /// When it was made.
    pub created: Timestamp,
}

impl InstanceProfile {
    /// `arn:aws:iam::<account>:instance-profile<path><name>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::iam(&self.account, &format!("instance-profile{}{}", self.path, self.name))
    }
}

/// A customer-managed policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedPolicy {
    /// The account it lives in.
    pub account: AccountId,
    /// Unique in the account, without regard to case.
    pub name: PolicyName,
    /// `ANPA…`.
    pub id: String,
    /// For people.
    pub description: String,
    /// JSON text.
    pub document: String,
    /// When it was made.
    pub created: Timestamp,
}

impl ManagedPolicy {
    /// `arn:aws:iam::<account>:policy/<name>`.
    #[must_use]
    pub fn arn(&self) -> Arn {
        Arn::iam(&self.account, &format!("policy/{}", self.name))
    }
}

/// Who owns a provider.
///
/// A provider of the organization is an **identity source**: people can sign in through it, and it stands in every
/// account under the same name, so that a role's trust policy can name it. A provider of an account serves the STS
/// federation operations of that account alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProviderOwner {
    /// Every account has it, and the sign-in page offers it.
    Organization,
    /// One account has it.
    Account(AccountId),
}

/// A SAML or OIDC identity provider, or the built-in directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityProvider {
    /// The organization or one account.
    pub owner: ProviderOwner,
    /// Unique for its owner.
    pub name: ProviderName,
    /// Text of its button on the sign-in page.
    pub label: String,
    /// E-mail domains whose people are sent here, lower case.
    pub domains: Vec<String>,
    /// Its people are in the directory: which of what it says about somebody is their `userName` there. `subject`, or a
    /// condition key (`saml:mail`, `<issuer>:email`). None: the directory has nothing to say about them.
    pub directory_user: Option<String>,
    /// What is asked of its people besides.
    pub second_factor: SecondFactor,
    /// How to talk to it.
    pub kind: ProviderKind,
}

impl IdentityProvider {
    /// Whether it speaks OAuth 2.0 without OpenID Connect.
    #[must_use]
    pub fn is_oauth2(&self) -> bool {
        matches!(&self.kind, ProviderKind::Oidc(oidc) if oidc.oauth2.is_some())
    }
}

/// What is asked of the people of a source besides the source's own word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondFactor {
    /// Who is asked at the sign-in.
    #[serde(default)]
    pub required: FactorRequirement,
    /// With `always`: for so many days after their first sign-in, people without a factor may put it off.
    #[serde(default)]
    pub grace_days: u32,
    /// Values of `amr`, `acr` or `AuthnContextClassRef` by which the source says that a second factor was given: those are
    /// believed. Without any, the source is not.
    #[serde(default)]
    pub believed: Vec<String>,
    /// The only authenticators that people may enrol from now on, where there are any: their makers vouch for them.
    #[serde(default)]
    pub authenticators: Vec<Authenticator>,
}

/// A model of authenticator (WebAuthn level 3, section 6.5: attestation).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authenticator {
    /// What it is called.
    pub name: String,
    /// Its AAGUID, as its maker or the FIDO metadata service says it.
    pub aaguid: String,
    /// The root certificate of its maker, PEM.
    pub certificate: String,
}

/// Who gives a second factor at the sign-in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FactorRequirement {
    /// Nobody; roles may still ask for one.
    Never,
    /// Those who have one.
    #[default]
    Enrolled,
    /// Everybody; those who have none set one up.
    Always,
}

/// The protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// SAML 2.0 web SSO.
    Saml(SamlProvider),
    /// OpenID Connect.
    Oidc(Box<OidcProvider>),
    /// Users and groups kept by Daypass itself.
    Directory,
}

/// What becomes of the attributes of an assertion, or of the claims of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttributeMapping {
    /// Short names: `saml:<short name>` or `<issuer>:<short name>` in trust policies ← attribute or claim. `email` and `name`
    /// are also shown on pages.
    pub attributes: BTreeMap<String, String>,
    /// Session tags ← attribute or claim, which must have one value.
    pub tags: BTreeMap<String, String>,
    /// The attribute or claim that names the person instead of NameID or `sub`: one that never changes and nobody chooses.
    pub subject: Option<String>,
}

/// A SAML identity provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamlProvider {
    /// The provider's metadata document (SAML metadata, `EntityDescriptor`), checked when it is stored.
    pub metadata: String,
    /// Where the metadata is published, if it is to be fetched anew from time to time.
    pub metadata_url: Option<String>,
    /// The certificate that must have signed fetched metadata, DER in base64. Without one, TLS vouches for it.
    pub metadata_certificate: Option<String>,
    /// What becomes of its attributes.
    #[serde(flatten)]
    pub mapping: AttributeMapping,
    /// Accept signatures over SHA-1. Shown as a warning.
    pub allow_sha1: bool,
    /// Accept sign-ins that begin at the provider, without a request of ours.
    pub allow_idp_initiated: bool,
    /// Have the person authenticate anew each time (`ForceAuthn`), and refuse an older authentication.
    pub force_authn: bool,
    /// Authentication contexts one of which is asked for and required (`RequestedAuthnContext`, exact); empty: any.
    pub authn_context: Vec<String>,
    /// Send requests in a form (HTTP-POST) even where the provider would take them in the address.
    pub post_requests: bool,
    /// How far the provider's clock may be from ours, in seconds; at most [`MAX_CLOCK_SKEW_SECONDS`].
    pub clock_skew_seconds: Option<u32>,
}

/// Default of [`SamlProvider::clock_skew_seconds`].
pub const CLOCK_SKEW_SECONDS: u32 = 60;
/// Most of it.
pub const MAX_CLOCK_SKEW_SECONDS: u32 = 300;

impl SamlProvider {
    /// How far the provider's clock may be from ours, in seconds.
    #[must_use]
    pub fn skew(&self) -> i64 {
        i64::from(self.clock_skew_seconds.unwrap_or(CLOCK_SKEW_SECONDS).min(MAX_CLOCK_SKEW_SECONDS))
    }
}

/// An OpenID Connect provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OidcProvider {
    /// The issuer, exactly as its tokens and discovery document spell it.
    pub issuer: String,
    /// Audiences accepted in tokens presented to `AssumeRoleWithWebIdentity`.
    pub client_ids: Vec<String>,
    /// The client that browser sign-in uses; it must be one of `client_ids`.
    pub sign_in_client_id: Option<String>,
    /// Its secret. Sealed before it reaches the store.
    #[serde(skip)]
    pub client_secret: Option<Secret<String>>,
    /// How the client authenticates; none: as the provider prefers.
    pub client_authentication: Option<ClientAuthentication>,
    /// Scopes asked for besides `openid`.
    pub scopes: Vec<String>,
    /// Signature algorithms accepted in its tokens; empty: RS256, PS256, ES256 and EdDSA.
    pub algorithms: Vec<String>,
    /// How old the person's authentication may be, in seconds (`max_age`).
    pub max_age_seconds: Option<u32>,
    /// Authentication contexts one of which is asked for and required (`acr_values`); empty: any.
    pub acr_values: Vec<String>,
    /// How old the claims of a session may be before the provider is asked again, in seconds, where it gives refresh tokens
    /// (scope `offline_access`); none: 900.
    pub refresh_seconds: Option<u32>,
    /// What becomes of its claims.
    #[serde(flatten)]
    pub mapping: AttributeMapping,
    /// Where it is no OpenID provider but OAuth 2.0 with an API that says who somebody is.
    pub oauth2: Option<OAuth2Api>,
}

/// How a client shows that it is itself (OpenID Connect Core 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// The secret in the `Authorization` header.
    ClientSecretBasic,
    /// The secret in the form.
    ClientSecretPost,
    /// A token signed with our key, which `/oidc/jwks` publishes.
    PrivateKeyJwt,
    /// A public client: PKCE alone.
    None,
}

/// An OAuth 2.0 service that says over its own API who somebody is (GitHub, Facebook).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2Api {
    /// Where the browser goes.
    pub authorization_endpoint: String,
    /// Where a code becomes a token.
    pub token_endpoint: String,
    /// Answers with the person as a JSON object, whose `id` never changes.
    pub user_endpoint: String,
    /// Lists the person's addresses with `primary` and `verified`.
    pub emails_endpoint: Option<String>,
    /// Lists the person's teams, with `slug` and their organization's `login`.
    pub teams_endpoint: Option<String>,
    /// Lists the person's organizations by `login`.
    pub organizations_endpoint: Option<String>,
}

impl IdentityProvider {
    /// What becomes of its attributes or claims; the directory has no mapping.
    #[must_use]
    pub fn mapping(&self) -> Option<&AttributeMapping> {
        match &self.kind {
            ProviderKind::Saml(saml) => Some(&saml.mapping),
            ProviderKind::Oidc(oidc) => Some(&oidc.mapping),
            ProviderKind::Directory => None,
        }
    }
}

impl OidcProvider {
    /// The issuer without its scheme: what AWS uses in provider ARNs and condition keys.
    #[must_use]
    pub fn issuer_path(&self) -> &str {
        let without = self.issuer.strip_prefix("https://").or_else(|| self.issuer.strip_prefix("http://"));
        without.unwrap_or(&self.issuer).trim_end_matches('/')
    }
}

/// The issuer name under which trust policies see the built-in directory: provider `oidc-provider/directory`,
/// condition keys `directory:sub`, `directory:groups` and so on.
pub const DIRECTORY_ISSUER: &str = "directory";

impl IdentityProvider {
    /// The resource part of its ARN: `saml-provider/<name>` or `oidc-provider/<issuer without scheme>`.
    #[must_use]
    pub fn resource(&self) -> String {
        match &self.kind {
            ProviderKind::Saml(_) => format!("saml-provider/{}", self.name),
            ProviderKind::Oidc(oidc) => format!("oidc-provider/{}", oidc.issuer_path()),
            ProviderKind::Directory => format!("oidc-provider/{DIRECTORY_ISSUER}"),
        }
    }

    /// Its ARN as the roles of `account` name it.
    #[must_use]
    pub fn arn(&self, account: &AccountId) -> Arn {
        Arn::iam(account, &self.resource())
    }

    /// Whether it stands in the account.
    #[must_use]
    pub fn is_in(&self, account: &AccountId) -> bool {
        match &self.owner {
            ProviderOwner::Organization => true,
            ProviderOwner::Account(owner) => owner == account,
        }
    }
}

//! Roles made ready for evaluation.

use super::{
    context::Context,
    document::{DocumentKind, MAX_DOCUMENT_LENGTH},
    evaluate::{Guardrails, Layers, ResourcePolicy},
    finding::MalformedDocument,
    policy::Policy,
    principal::Identity,
    set::{Named, PolicySet},
};
use crate::domain::{
    Arn,
    iam::Role,
    name::{AccountId, PolicyName},
    session::{FederationProtocol, IdentityAssertion, RoleSession},
    user::{User, UserCredentials, UserSession},
};
use base64::Engine as _;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

/// Compiled once: documents that repeat, and sets of documents that repeat, are kept once however many roles carry them.
#[derive(Debug, Default)]
pub struct Library {
    policies: HashMap<(DocumentKind, Arc<str>), Arc<Policy>>,
    /// By label and address of the policy: the policies above keep the addresses taken.
    sets: HashMap<Vec<(Arc<str>, usize)>, Arc<PolicySet>>,
}

impl Library {
    /// The text, kept once, and what it does.
    ///
    /// # Errors
    /// When the text is no policy of this kind.
    pub fn policy(&mut self, text: &Arc<str>, kind: DocumentKind) -> Result<(Arc<str>, Arc<Policy>), MalformedDocument> {
        debug_assert!(text.len() <= MAX_DOCUMENT_LENGTH);
        let key = (kind, text.clone());
        if let Some(((_, text), policy)) = self.policies.get_key_value(&key) {
            return Ok((text.clone(), policy.clone()));
        }
        let policy = Arc::new(Policy::parse(text, kind)?);
        self.policies.insert(key, policy.clone());
        Ok((text.clone(), policy))
    }

    /// The identity policies of a role or user. `managed` finds attached ones; one that is missing grants nothing.
    fn identity(
        &mut self,
        inline: &mut BTreeMap<PolicyName, Arc<str>>,
        attached: &[Arn],
        managed: impl Fn(&Arn) -> Option<Arc<Policy>>,
    ) -> Result<Arc<PolicySet>, MalformedDocument> {
        let mut policies = Vec::new();
        for (name, text) in inline {
            let (kept, policy) = self.policy(text, DocumentKind::Identity)?;
            *text = kept;
            policies.push(Named { label: format!("inline policy {name}").into(), policy });
        }
        for arn in attached {
            if let Some(policy) = managed(arn) {
                policies.push(Named { label: format!("managed policy {}", arn.resource_name()).into(), policy });
            }
        }
        Ok(self.set(policies))
    }

    /// The set of these policies.
    pub fn set(&mut self, policies: Vec<Named>) -> Arc<PolicySet> {
        let key = policies.iter().map(|named| (named.label.clone(), Arc::as_ptr(&named.policy) as usize)).collect();
        self.sets.entry(key).or_insert_with(|| Arc::new(PolicySet::new(policies))).clone()
    }
}

/// A role with its documents compiled.
#[derive(Clone, Debug)]
pub struct CompiledRole {
    /// The entity.
    pub role: Role,
    /// Its trust policy.
    pub trust: Arc<PolicySet>,
    /// Its permissions.
    pub policies: Arc<PolicySet>,
    /// What caps it and its sessions.
    pub boundary: Option<Arc<PolicySet>>,
}

/// A user with its documents compiled.
#[derive(Clone, Debug)]
pub struct CompiledUser {
    /// The entity.
    pub user: User,
    /// Its permissions.
    pub policies: Arc<PolicySet>,
}

impl CompiledUser {
    /// Compiles the user's documents.
    ///
    /// # Errors
    /// The first document that does not parse: a damaged store.
    pub fn compile(
        mut user: User,
        library: &mut Library,
        managed: impl Fn(&Arn) -> Option<Arc<Policy>>,
    ) -> Result<Self, MalformedDocument> {
        let policies = library.identity(&mut user.inline_policies, &user.attached_policies, managed)?;
        Ok(Self { user, policies })
    }

    /// The user without permissions: its documents can't be read.
    #[must_use]
    pub fn closed(user: User) -> Self {
        Self { user, policies: Arc::default() }
    }
}

/// A user or root user who signs, as `Principal` elements see it.
#[must_use]
pub fn user_identity(session: &UserSession) -> Identity {
    let account = session.account.clone();
    match (&session.credentials, &session.user_id) {
        (UserCredentials::Federation(_), id) => Identity::FederatedUser {
            account,
            session: session.arn(),
            user: session.user.clone(),
            user_id: id.clone().unwrap_or_default(),
        },
        (_, Some(id)) => Identity::User { account, arn: session.user.clone(), id: id.clone() },
        (_, None) => Identity::Root { account },
    }
}

/// Nothing.
pub static NO_POLICIES: LazyLock<PolicySet> = LazyLock::new(PolicySet::default);

impl CompiledRole {
    /// Compiles the role's documents. `managed` finds attached policies; one that is missing grants nothing.
    ///
    /// # Errors
    /// The first document that does not parse. What is stored was parsed before, so this means a damaged store.
    pub fn compile(
        mut role: Role,
        library: &mut Library,
        managed: impl Fn(&Arn) -> Option<Arc<Policy>>,
    ) -> Result<Self, MalformedDocument> {
        let (text, trust) = library.policy(&role.trust_policy, DocumentKind::Trust)?;
        role.trust_policy = text;
        let policies = library.identity(&mut role.inline_policies, &role.attached_policies, managed)?;
        let trust = library.set(vec![Named { label: "the role's trust policy".into(), policy: trust }]);
        Ok(Self { role, trust, policies, boundary: None })
    }

    /// The role, closed: its documents can't be read, so it trusts nobody and may nothing.
    #[must_use]
    pub fn closed(role: Role) -> Self {
        Self { role, trust: Arc::default(), policies: Arc::default(), boundary: None }
    }

    /// The role with another trust policy, to try it.
    ///
    /// # Errors
    /// When the text is no trust policy.
    pub fn with_trust(&self, text: &str) -> Result<Self, MalformedDocument> {
        let trust = Arc::new(Policy::parse(text, DocumentKind::Trust)?);
        Ok(Self { trust: Arc::new(PolicySet::of("the trust policy on trial", trust)), ..self.clone() })
    }

    /// A session of the role, as `Principal` elements see it.
    #[must_use]
    pub fn identity(&self, session: &RoleSession) -> Identity {
        Identity::Session {
            role: self.role.arn(),
            role_id: session.role_id.clone(),
            session: session.arn(),
            account: session.account.clone(),
        }
    }

    /// What decides when a provider vouches for somebody: the trust policy, within the organization's.
    #[must_use]
    pub fn trust_layers<'a>(&'a self, guardrails: Guardrails<'a>) -> Layers<'a> {
        let resource = Some(ResourcePolicy { policies: &self.trust, mandatory: true });
        Layers { identity: &NO_POLICIES, boundary: None, session: None, resource, guardrails }
    }

    /// The context a trust policy sees for an assertion: its claims, and the keys AWS derives from it.
    ///
    /// `base` holds the keys of the request itself (`aws:SourceIp`, `aws:CurrentTime` …).
    #[must_use]
    pub fn trust_context(&self, assertion: &IdentityAssertion, base: &Context) -> Context {
        let mut context = assertion_context(assertion, base);
        account_context(&mut context, assertion, &self.role.account);
        context
    }
}

/// The keys an assertion brings, whichever account the role is in.
#[must_use]
pub fn assertion_context(assertion: &IdentityAssertion, base: &Context) -> Context {
    let mut context = base.clone();
    for (key, values) in &assertion.claims {
        context.set_list(key, values.clone());
    }
    context.set("sts:RoleSessionName", assertion.session_name().to_string());
    if let Some(source) = &assertion.source_identity {
        context.set("sts:SourceIdentity", source.to_string());
    }
    for (key, value) in assertion.tags.iter() {
        context.set(&format!("aws:RequestTag/{key}"), value);
    }
    let keys = |tags: &mut dyn Iterator<Item = (&str, &str)>| tags.map(|(key, _)| key.to_owned()).collect();
    context.set_list("aws:TagKeys", keys(&mut assertion.tags.iter()));
    context.set_list("sts:TransitiveTagKeys", keys(&mut assertion.tags.transitive()));
    context
}

/// Keys that [`account_context`] sets: an index over roles of many accounts can't use them.
pub(super) const ACCOUNT_KEYS: [&str; 3] = ["saml:doc", "saml:namequalifier", "aws:federatedprovider"];

/// The keys an assertion brings that differ from account to account.
pub fn account_context(context: &mut Context, assertion: &IdentityAssertion, account: &AccountId) {
    if assertion.provider.protocol == FederationProtocol::Saml {
        let name = &assertion.provider.name;
        context.set("saml:doc", format!("{account}/{name}"));
        context.set("saml:namequalifier", saml_name_qualifier(&assertion.issuer, account.as_str(), name));
    }
    match assertion.provider.arn_in(account) {
        Some(provider) => context.set("aws:FederatedProvider", provider.to_string()),
        None => context.set_list("aws:FederatedProvider", Vec::new()),
    }
}

/// `saml:namequalifier`: base64(SHA-1(issuer + account + "/" + provider name)) (IAM user guide, "saml:namequalifier").
/// SHA-1 names things here; it protects nothing.
#[must_use]
pub fn saml_name_qualifier(issuer: &str, account: &str, provider: &str) -> String {
    let text = format!("{issuer}{account}/{provider}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

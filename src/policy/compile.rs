//! Roles made ready for evaluation.

use super::{
    condition::Context,
    document::{Document, DocumentKind, MalformedDocument},
    evaluate::Named,
};
use crate::domain::{Arn, iam::Role, session::IdentityAssertion};
use base64::Engine as _;
use std::sync::Arc;

/// A role with its documents parsed.
#[derive(Debug)]
pub struct CompiledRole {
    /// The entity.
    pub role: Role,
    /// Its trust policy.
    pub trust: Document,
    /// Its permissions: label and document.
    pub policies: Vec<(String, Arc<Document>)>,
}

impl CompiledRole {
    /// Parses the role's documents. `managed` finds attached policies; one that is missing grants nothing.
    ///
    /// # Errors
    /// The first document that does not parse. What is stored was parsed before, so this means a damaged store.
    pub fn compile(role: Role, managed: impl Fn(&Arn) -> Option<Arc<Document>>) -> Result<Self, MalformedDocument> {
        let trust = Document::parse(&role.trust_policy, DocumentKind::Trust)?;
        let mut policies = Vec::new();
        for (name, text) in &role.inline_policies {
            let document = Document::parse(text, DocumentKind::Identity)?;
            policies.push((format!("inline policy {name} of role {}", role.name), Arc::new(document)));
        }
        for arn in &role.attached_policies {
            if let Some(document) = managed(arn) {
                policies.push((format!("managed policy {}", arn.resource_name()), document));
            }
        }
        Ok(Self { role, trust, policies })
    }

    /// The permissions, as evaluation takes them.
    #[must_use]
    pub fn named(&self) -> Vec<Named<'_>> {
        self.policies.iter().map(|(label, document)| Named { label, document }).collect()
    }

    /// The context a trust policy sees for an assertion: its claims, and the keys AWS derives from it.
    ///
    /// `base` holds the keys of the request itself (`aws:SourceIp`, `aws:CurrentTime` …).
    #[must_use]
    pub fn trust_context(&self, assertion: &IdentityAssertion, base: &Context) -> Context {
        let mut context = base.clone();
        for (key, values) in &assertion.claims {
            context.set_list(key, values.clone());
        }
        let account = &self.role.account;
        if assertion.provider.protocol == crate::domain::session::FederationProtocol::Saml {
            let name = &assertion.provider.name;
            context.set("saml:doc", format!("{account}/{name}"));
            context.set("saml:namequalifier", saml_name_qualifier(&assertion.issuer, account.as_str(), name));
        }
        context.set("sts:RoleSessionName", assertion.session_name().to_string());
        if let Some(source) = &assertion.source_identity {
            context.set("sts:SourceIdentity", source.to_string());
        }
        for (key, value) in &assertion.tags {
            context.set(&format!("aws:RequestTag/{key}"), value.clone());
        }
        context.set_list("aws:TagKeys", assertion.tags.keys().cloned().collect());
        if let Some(provider) = assertion.provider.arn_in(account) {
            context.set("aws:FederatedProvider", provider.to_string());
        }
        context
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

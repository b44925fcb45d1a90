//! Trust anchors: the authorities whose certificates an account's workloads have.

use super::{RolesAnywhere, check_name, iso8601, missing, on};
use crate::{
    crypto::x509,
    domain::{Arn, Error, Timestamp, anywhere::TrustAnchor},
    gateway::{Access, Call, Operation, Read, Scope, Write},
    store::Snapshot,
};
use serde::{Deserialize, Serialize};

/// Longest bundle of certificates, in characters.
const MAX_BUNDLE: usize = 16_000;

/// Where the authority's certificates are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// `CERTIFICATE_BUNDLE`.
    pub source_type: String,
    /// The certificates.
    pub source_data: SourceData,
}

/// The certificates.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceData {
    /// PEM, up to 16,000 characters.
    pub x509_certificate_data: String,
}

/// A trust anchor on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustAnchorDetail {
    /// A UUID.
    pub trust_anchor_id: String,
    /// Its ARN.
    pub trust_anchor_arn: Arn,
    /// For people.
    pub name: String,
    /// Its certificates.
    pub source: Source,
    /// Whether it lets workloads in.
    pub enabled: bool,
    /// When it was made.
    #[serde(serialize_with = "iso8601")]
    pub created_at: Timestamp,
    /// When it was changed.
    #[serde(serialize_with = "iso8601")]
    pub updated_at: Timestamp,
}

impl TrustAnchorDetail {
    fn new(anchor: &TrustAnchor) -> Self {
        Self {
            trust_anchor_id: anchor.id.clone(),
            trust_anchor_arn: anchor.arn(),
            name: anchor.name.clone(),
            source: Source {
                source_type: "CERTIFICATE_BUNDLE".to_owned(),
                source_data: SourceData { x509_certificate_data: anchor.certificates.clone() },
            },
            enabled: anchor.enabled,
            created_at: anchor.created,
            updated_at: anchor.updated,
        }
    }
}

/// An answer that holds one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustAnchorAnswer {
    /// The trust anchor.
    pub trust_anchor: TrustAnchorDetail,
}

/// Trusts an authority.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateTrustAnchor {
    /// For people.
    pub name: String,
    /// Its certificates.
    pub source: Source,
    /// Default: off, as at AWS.
    #[serde(default)]
    pub enabled: bool,
}

impl Operation for CreateTrustAnchor {
    type Service = RolesAnywhere;
    type Mode = Write;
    type Output = TrustAnchorAnswer;
    const NAME: &'static str = "CreateTrustAnchor";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(Self::NAME, scope, "trust-anchor", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<TrustAnchorAnswer, Error> {
        check_name(&self.name)?;
        let pem = self.source.source_data.x509_certificate_data;
        if self.source.source_type != "CERTIFICATE_BUNDLE" {
            return Err(Error::invalid("the only sourceType here is CERTIFICATE_BUNDLE"));
        }
        if pem.len() > MAX_BUNDLE {
            return Err(Error::invalid(format!("x509CertificateData has at most {MAX_BUNDLE} characters")));
        }
        x509::check_anchor(&pem)?;
        let now = call.caller.origin.time;
        let anchor = TrustAnchor {
            account: call.account()?.clone(),
            id: call.broker.random.uuid(),
            name: self.name,
            certificates: pem,
            enabled: self.enabled,
            created: now,
            updated: now,
        };
        call.tx.note("trustAnchorArn", anchor.arn());
        call.tx.put_trust_anchor(&anchor).await?;
        Ok(TrustAnchorAnswer { trust_anchor: TrustAnchorDetail::new(&anchor) })
    }
}

/// Lists the account's trust anchors.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListTrustAnchors {
    /// From the last page.
    pub next_token: Option<String>,
    /// 1 to 1000, default 100.
    pub page_size: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustAnchors {
    /// A page of them.
    pub trust_anchors: Vec<TrustAnchorDetail>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl Operation for ListTrustAnchors {
    type Service = RolesAnywhere;
    type Mode = Read;
    type Output = TrustAnchors;
    const NAME: &'static str = "ListTrustAnchors";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(Self::NAME, scope, "trust-anchor", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<TrustAnchors, Error> {
        let account = call.account()?;
        let own = call.tx.snapshot.trust_anchors.iter().filter(|anchor| anchor.account == *account);
        let (page, next_token) = crate::api::page(own, |anchor| anchor.id.clone(), self.next_token.as_deref(), self.page_size)?;
        let details = page.into_iter().map(|anchor| TrustAnchorDetail::new(anchor));
        Ok(TrustAnchors { trust_anchors: details.collect(), next_token })
    }
}

fn find(snapshot: &Snapshot, scope: &Scope, id: &str) -> Result<TrustAnchor, Error> {
    let account = scope.account()?;
    let found = snapshot.trust_anchors.iter().find(|anchor| anchor.account == *account && anchor.id == id);
    found.map(|anchor| (**anchor).clone()).ok_or_else(|| missing("Trust anchor", id))
}

/// One trust anchor, by its id.
macro_rules! on_one {
    ($operation:ident, $doc:literal, $mode:ty, |$anchor:ident, $call:ident| $body:block) => {
        #[doc = $doc]
        #[derive(Debug, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $operation {
            /// The trust anchor, a UUID.
            pub trust_anchor_id: String,
        }

        impl Operation for $operation {
            type Service = RolesAnywhere;
            type Mode = $mode;
            type Output = TrustAnchorAnswer;
            const NAME: &'static str = stringify!($operation);

            fn access(&self, scope: &Scope) -> Result<Access, Error> {
                on(Self::NAME, scope, "trust-anchor", &self.trust_anchor_id)
            }

            async fn run(self, $call: &mut Call<'_, Self>) -> Result<TrustAnchorAnswer, Error> {
                let $anchor = find(&$call.tx.snapshot, $call.scope, &self.trust_anchor_id)?;
                let anchor = $body;
                Ok(TrustAnchorAnswer { trust_anchor: TrustAnchorDetail::new(&anchor) })
            }
        }
    };
}

on_one!(GetTrustAnchor, "Reads a trust anchor.", Read, |anchor, call| { anchor });
on_one!(DeleteTrustAnchor, "Deletes a trust anchor.", Write, |anchor, call| {
    call.tx.note("trustAnchorArn", anchor.arn());
    call.tx.delete_trust_anchor(&anchor).await?;
    anchor
});
on_one!(EnableTrustAnchor, "Lets workloads in.", Write, |anchor, call| {
    let anchor = TrustAnchor { enabled: true, updated: call.caller.origin.time, ..anchor };
    call.tx.note("trustAnchorArn", anchor.arn());
    call.tx.put_trust_anchor(&anchor).await?;
    anchor
});
on_one!(DisableTrustAnchor, "Lets nobody in any more; sessions that exist live on.", Write, |anchor, call| {
    let anchor = TrustAnchor { enabled: false, updated: call.caller.origin.time, ..anchor };
    call.tx.note("trustAnchorArn", anchor.arn());
    call.tx.put_trust_anchor(&anchor).await?;
    anchor
});

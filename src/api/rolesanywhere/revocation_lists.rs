//! Revocation lists: certificates that an authority took back before their time.

use super::{RolesAnywhere, check_name, iso8601, missing, on};
use crate::{
    crypto::x509,
    domain::{Arn, Error, Timestamp, anywhere::RevocationList},
    gateway::{Access, Call, Operation, Read, Scope, Write},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};

/// Largest list, in bytes (IAM Roles Anywhere quotas: 300,000).
const MAX_LIST: usize = 300_000;

/// A list on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CrlDetail {
    /// A UUID.
    pub crl_id: String,
    /// Its ARN.
    pub crl_arn: Arn,
    /// For people.
    pub name: String,
    /// The authority's trust anchor.
    pub trust_anchor_arn: Arn,
    /// DER, base64.
    pub crl_data: String,
    /// Whether it counts.
    pub enabled: bool,
    /// When it came in.
    #[serde(serialize_with = "iso8601")]
    pub created_at: Timestamp,
}

impl CrlDetail {
    fn new(list: &RevocationList) -> Self {
        Self {
            crl_id: list.id.clone(),
            crl_arn: list.arn(),
            name: list.name.clone(),
            trust_anchor_arn: list.trust_anchor.clone(),
            crl_data: STANDARD.encode(&list.list),
            enabled: list.enabled,
            created_at: list.created,
        }
    }
}

/// An answer that holds one.
#[derive(Debug, Serialize)]
pub struct CrlAnswer {
    /// The list.
    pub crl: CrlDetail,
}

/// Takes a list in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportCrl {
    /// For people.
    pub name: String,
    /// PEM or DER, base64.
    pub crl_data: String,
    /// The authority's trust anchor.
    pub trust_anchor_arn: Arn,
    /// Default: it counts.
    pub enabled: Option<bool>,
}

impl Operation for ImportCrl {
    type Service = RolesAnywhere;
    type Mode = Write;
    type Output = CrlAnswer;
    const NAME: &'static str = "ImportCrl";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(Self::NAME, scope, "crl", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<CrlAnswer, Error> {
        check_name(&self.name)?;
        let account = call.account()?.clone();
        let bytes = STANDARD.decode(self.crl_data.trim()).map_err(|_| Error::invalid("crlData is not base64"))?;
        let list = match CertificateRevocationListDer::from_pem_slice(&bytes) {
            Ok(der) => der.to_vec(),
            Err(_) => bytes,
        };
        if list.len() > MAX_LIST {
            return Err(Error::invalid(format!("crlData has at most {MAX_LIST} bytes")));
        }
        x509::check_revocations(&list)?;
        let anchor = call.tx.snapshot.trust_anchor(&self.trust_anchor_arn).filter(|anchor| anchor.account == account);
        if anchor.is_none() {
            return Err(missing("Trust anchor", self.trust_anchor_arn.resource_name()));
        }
        let list = RevocationList {
            account,
            id: call.broker.random.uuid(),
            name: self.name,
            trust_anchor: self.trust_anchor_arn,
            list,
            enabled: self.enabled.unwrap_or(true),
            created: call.caller.origin.time,
        };
        call.tx.note("crlArn", list.arn());
        call.tx.put_revocation_list(&list).await?;
        Ok(CrlAnswer { crl: CrlDetail::new(&list) })
    }
}

/// Lists the account's lists.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListCrls {
    /// From the last page.
    pub next_token: Option<String>,
    /// 1 to 1000, default 100.
    pub page_size: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Crls {
    /// A page of them.
    pub crls: Vec<CrlDetail>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl Operation for ListCrls {
    type Service = RolesAnywhere;
    type Mode = Read;
    type Output = Crls;
    const NAME: &'static str = "ListCrls";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(Self::NAME, scope, "crl", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Crls, Error> {
        let account = call.account()?;
        let own = call.tx.snapshot.revocation_lists.iter().filter(|list| list.account == *account);
        let (page, next_token) = crate::api::page(own, |list| list.id.clone(), self.next_token.as_deref(), self.page_size)?;
        let details = page.into_iter().map(|list| CrlDetail::new(list));
        Ok(Crls { crls: details.collect(), next_token })
    }
}

/// Forgets a list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteCrl {
    /// The list, a UUID.
    pub crl_id: String,
}

impl Operation for DeleteCrl {
    type Service = RolesAnywhere;
    type Mode = Write;
    type Output = CrlAnswer;
    const NAME: &'static str = "DeleteCrl";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(Self::NAME, scope, "crl", &self.crl_id)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<CrlAnswer, Error> {
        let account = call.account()?.clone();
        let snapshot = call.tx.snapshot.clone();
        let found = snapshot.revocation_lists.iter().find(|list| list.account == account && list.id == self.crl_id);
        let list = found.ok_or_else(|| missing("Crl", &self.crl_id))?;
        call.tx.note("crlArn", list.arn());
        call.tx.delete_revocation_list(&list.id).await?;
        Ok(CrlAnswer { crl: CrlDetail::new(list) })
    }
}

//! Identity providers of an account, those of the organization included.

use super::Iam;
use crate::{
    domain::{Arn, Error, iam::ProviderKind},
    gateway::{Access, Call, Operation, Read, Scope},
    policy::evaluate::Check,
};
use serde::{Deserialize, Serialize};

/// Lists SAML providers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSAMLProviders {}

/// The answer.
#[derive(Debug, Serialize)]
pub struct SAMLProviders {
    /// All of them.
    #[serde(rename = "SAMLProviderList")]
    pub list: Vec<ProviderEntry>,
}

/// A provider.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProviderEntry {
    /// Its ARN in this account.
    pub arn: Arn,
}

impl Operation for ListSAMLProviders {
    type Service = Iam;
    type Mode = Read;
    type Output = SAMLProviders;
    const NAME: &'static str = "ListSAMLProviders";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:ListSAMLProviders", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SAMLProviders, Error> {
        Ok(SAMLProviders { list: list(call, |kind| matches!(kind, ProviderKind::Saml(_)))? })
    }
}

/// Lists OIDC providers; the built-in directory is one (`oidc-provider/directory`).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListOpenIDConnectProviders {}

/// The answer.
#[derive(Debug, Serialize)]
pub struct OpenIDConnectProviders {
    /// All of them.
    #[serde(rename = "OpenIDConnectProviderList")]
    pub list: Vec<ProviderEntry>,
}

impl Operation for ListOpenIDConnectProviders {
    type Service = Iam;
    type Mode = Read;
    type Output = OpenIDConnectProviders;
    const NAME: &'static str = "ListOpenIDConnectProviders";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:ListOpenIDConnectProviders", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<OpenIDConnectProviders, Error> {
        Ok(OpenIDConnectProviders { list: list(call, |kind| !matches!(kind, ProviderKind::Saml(_)))? })
    }
}

fn list<O: Operation<Mode = Read>>(call: &Call<'_, O>, wanted: fn(&ProviderKind) -> bool) -> Result<Vec<ProviderEntry>, Error> {
    let account = call.account()?;
    let standing = call.tx.snapshot.providers.iter().filter(|provider| provider.is_in(account) && wanted(&provider.kind));
    let mut list: Vec<ProviderEntry> = standing.map(|provider| ProviderEntry { arn: provider.arn(account) }).collect();
    list.sort_by(|a, b| a.arn.cmp(&b.arn));
    list.dedup_by(|a, b| a.arn == b.arn);
    Ok(list)
}

//! Web identity tokens of this broker for services elsewhere: allowed account by account (IAM user guide, "outbound web
//! identity federation").

use super::Iam;
use crate::{
    domain::{Error, ErrorKind},
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::evaluate::Check,
};
use serde::{Deserialize, Serialize};

/// Lets the account's principals ask for tokens.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnableOutboundWebIdentityFederation {}

/// The issuer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OutboundIssuer {
    /// What `iss` says; discovery stands below it.
    pub issuer_identifier: String,
}

impl Operation for EnableOutboundWebIdentityFederation {
    type Service = Iam;
    type Mode = Write;
    type Output = OutboundIssuer;
    const NAME: &'static str = "EnableOutboundWebIdentityFederation";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:EnableOutboundWebIdentityFederation", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<OutboundIssuer, Error> {
        let account = call.account()?.clone();
        if call.tx.snapshot.outbound_federation.contains(&account) {
            return Err(Error::new(ErrorKind::AlreadyExists, "Outbound web identity federation is enabled already."));
        }
        call.tx.put_outbound_federation(&account, true).await?;
        Ok(OutboundIssuer { issuer_identifier: call.broker.federation.addresses.token_issuer(call.account()?) })
    }
}

/// Ends that.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisableOutboundWebIdentityFederation {}

impl Operation for DisableOutboundWebIdentityFederation {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DisableOutboundWebIdentityFederation";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:DisableOutboundWebIdentityFederation", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let account = call.account()?.clone();
        if !call.tx.snapshot.outbound_federation.contains(&account) {
            return Err(disabled());
        }
        call.tx.put_outbound_federation(&account, false).await
    }
}

/// Says whether the account's principals may ask.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetOutboundWebIdentityFederationInfo {}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OutboundInfo {
    /// What `iss` says.
    pub issuer_identifier: String,
    /// True.
    pub jwt_vending_enabled: bool,
}

impl Operation for GetOutboundWebIdentityFederationInfo {
    type Service = Iam;
    type Mode = Read;
    type Output = OutboundInfo;
    const NAME: &'static str = "GetOutboundWebIdentityFederationInfo";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:GetOutboundWebIdentityFederationInfo", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<OutboundInfo, Error> {
        if !call.tx.snapshot.outbound_federation.contains(call.account()?) {
            return Err(disabled());
        }
        let issuer_identifier = call.broker.federation.addresses.token_issuer(call.account()?);
        Ok(OutboundInfo { issuer_identifier, jwt_vending_enabled: true })
    }
}

fn disabled() -> Error {
    Error::new(ErrorKind::FeatureDisabled, "Outbound web identity federation is not enabled for this account.")
}

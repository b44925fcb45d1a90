//! Who somebody is, whose a key is, and why somebody was refused.

use super::Sts;
use crate::{
    domain::{Arn, Error, ErrorKind, time::account_of_access_key},
    gateway::{Access, Call, Operation, Read, Scope, receipt::Receipt},
    policy::evaluate::Check,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest encoded message, in characters (STS API reference, `EncodedMessage`).
const MAX_ENCODED_MESSAGE: usize = 10_240;

/// Says who the caller is. Needs no permission, touches no store.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetCallerIdentity {}

/// Who one is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CallerIdentity {
    /// ARN of the session, user or root user.
    pub arn: Arn,
    /// `AROA…:<session>`, `AIDA…`, or the account.
    pub user_id: String,
    /// The account.
    pub account: String,
}

impl Operation for GetCallerIdentity {
    type Service = Sts;
    type Mode = Read;
    type Output = CallerIdentity;
    const NAME: &'static str = "GetCallerIdentity";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Caller { because: "everybody may know who they are (STS: allowed even against an explicit deny)" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<CallerIdentity, Error> {
        let (arn, user_id) = call.caller.identity().ok_or_else(|| Error::internal("a signed call without a signer"))?;
        Ok(CallerIdentity { arn, user_id, account: call.account()?.to_string() })
    }
}

/// Says whose account an access key belongs to: the id itself holds it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetAccessKeyInfo {
    /// `ASIA…` or `AKIA…`.
    pub access_key_id: String,
}

/// Whose it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessKeyInfo {
    /// The account.
    pub account: String,
}

impl Operation for GetAccessKeyInfo {
    type Service = Sts;
    type Mode = Read;
    type Output = AccessKeyInfo;
    const NAME: &'static str = "GetAccessKeyInfo";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("sts:GetAccessKeyInfo", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AccessKeyInfo, Error> {
        let account = account_of_access_key(&self.access_key_id);
        let known = account.filter(|account| call.tx.snapshot.accounts.contains_key(account));
        let known = known.ok_or_else(|| Error::invalid("The access key ID is not valid"))?;
        Ok(AccessKeyInfo { account: known.to_string() })
    }
}

/// Opens the encoded message of a refusal: what was asked, and every policy that had a say. For the accounts of the caller
/// and of the resource.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DecodeAuthorizationMessage {
    /// As it stands in the refusal, 1 to 10,240 characters.
    pub encoded_message: String,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DecodedMessage {
    /// JSON, in AWS's shape, with `reason` and `policies` beside it.
    pub decoded_message: String,
    /// The same, for our own pages.
    #[serde(skip)]
    pub receipt: Receipt,
}

impl Operation for DecodeAuthorizationMessage {
    type Service = Sts;
    type Mode = Read;
    type Output = DecodedMessage;
    const NAME: &'static str = "DecodeAuthorizationMessage";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("sts:DecodeAuthorizationMessage", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<DecodedMessage, Error> {
        let not_ours = || Error::new(ErrorKind::InvalidAuthorizationMessage, "Message decoding failed");
        if !(1..=MAX_ENCODED_MESSAGE).contains(&self.encoded_message.len()) {
            return Err(not_ours());
        }
        let receipt = Receipt::open(call.broker.store.ring(), &self.encoded_message).ok_or_else(not_ours)?;
        let seen = receipt.seen_by(call.account()?).ok_or_else(not_ours)?;
        Ok(DecodedMessage { decoded_message: message(&seen).to_string(), receipt: seen })
    }
}

/// The refusal in the shape AWS documents for decoded messages.
fn message(receipt: &Receipt) -> Value {
    let explanation = &receipt.explanation;
    let items = |items: Vec<Value>| json!({ "items": items });
    let denies = explanation.statements().filter(|trace| trace.applies && !trace.allow);
    let matched = denies.map(|trace| json!({ "statementId": trace.sid.clone().unwrap_or_default(), "effect": "DENY" }));
    let mut keys: Vec<(&str, &[String])> = explanation
        .statements()
        .flat_map(|trace| &trace.conditions)
        .filter(|condition| !condition.received.is_empty())
        .map(|condition| (condition.key.as_str(), condition.received.as_slice()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let conditions = keys.into_iter().map(|(key, values)| {
        let values = values.iter().map(|value| json!({ "value": value })).collect();
        json!({ "key": key, "values": items(values) })
    });
    json!({
        "allowed": false,
        "explicitDeny": explanation.explicit_deny,
        "matchedStatements": items(matched.collect()),
        "failures": items(Vec::new()),
        "context": {
            "principal": { "arn": receipt.principal },
            "action": explanation.action,
            "resource": explanation.resource,
            "conditions": items(conditions.collect()),
        },
        "time": receipt.time.to_string(),
        "reason": explanation.reason,
        "policies": explanation.policies,
    })
}

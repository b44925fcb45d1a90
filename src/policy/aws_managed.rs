//! The AWS-managed policies that are built in: full access, and the tasks of `AssumeRoot`.

use super::{document::DocumentKind, policy::Policy};
use crate::domain::Arn;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// ARN of the policy that allows everything.
pub const ADMINISTRATOR_ACCESS: &str = "arn:aws:iam::aws:policy/AdministratorAccess";
/// Where the ARNs of root tasks begin.
const ROOT_TASK: &str = "arn:aws:iam::aws:policy/root-task/";

/// A built-in policy.
#[derive(Clone, Debug)]
pub struct ManagedByAws {
    /// JSON.
    pub text: String,
    /// Compiled.
    pub policy: Arc<Policy>,
}

const LOOK_AT_ROOT: [&str; 6] = [
    "iam:ListAccessKeys",
    "iam:ListSigningCertificates",
    "iam:GetLoginProfile",
    "iam:ListMFADevices",
    "iam:GetUser",
    "iam:GetAccessKeyLastUsed",
];
const DELETE_OF_ROOT: [&str; 5] = [
    "iam:DeleteAccessKey",
    "iam:DeleteSigningCertificate",
    "iam:DeleteLoginProfile",
    "iam:DeactivateMFADevice",
    "iam:DeleteVirtualMFADevice",
];

static ALL: LazyLock<BTreeMap<String, ManagedByAws>> = LazyLock::new(|| {
    let mut all = BTreeMap::new();
    let mut add = |arn: String, document: serde_json::Value| {
        let text = document.to_string();
        // Constants: the suite holds each against what AWS publishes, so none is missing for a slip here.
        if let Ok(policy) = Policy::parse(&text, DocumentKind::Identity) {
            all.insert(arn, ManagedByAws { text, policy: Arc::new(policy) });
        }
    };
    let statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    add(ADMINISTRATOR_ACCESS.to_owned(), json!({"Version": "2012-10-17", "Statement": [statement]}));
    let on_root = |actions: &[&str]| json!({"Effect": "Deny", "Action": actions, "NotResource": "arn:aws:iam::*:root"});
    let by_root = |actions: &[&str]| {
        json!({"Effect": "Deny", "Action": actions, "Resource": "*",
               "Condition": {"StringNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:root"}}})
    };
    let mut task = |name: &str, actions: &[&str], also: Vec<serde_json::Value>| {
        let mut statements = vec![json!({"Effect": "Deny", "NotAction": actions, "Resource": "*"})];
        statements.extend(also);
        add(format!("{ROOT_TASK}{name}"), json!({"Version": "2012-10-17", "Statement": statements}));
    };
    let audit: Vec<&str> = LOOK_AT_ROOT.into_iter().chain(["iam:GetAccountSummary"]).collect();
    task("IAMAuditRootUserCredentials", &audit, vec![on_root(&LOOK_AT_ROOT)]);
    let password = ["iam:CreateLoginProfile", "iam:GetLoginProfile"];
    task("IAMCreateRootUserPassword", &password, vec![on_root(&password)]);
    let delete: Vec<&str> = DELETE_OF_ROOT.into_iter().chain(LOOK_AT_ROOT).collect();
    task("IAMDeleteRootUserCredentials", &delete, vec![on_root(&delete)]);
    let bucket = ["s3:DeleteBucketPolicy", "s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:ListAllMyBuckets"];
    task("S3UnlockBucketPolicy", &bucket, vec![by_root(&bucket[..])]);
    let queue = ["sqs:SetQueueAttributes", "sqs:GetQueueAttributes", "sqs:ListQueues", "sqs:GetQueueUrl"];
    let elsewhere = json!({"Effect": "Deny", "Action": "sqs:GetQueueAttributes", "Resource": "arn:aws:sqs:*:*:*",
        "Condition": {"StringNotEqualsIfExists": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}}});
    task("SQSUnlockQueuePolicy", &queue, vec![elsewhere, by_root(&queue[..])]);
    all
});

/// The policy with this ARN, if it is built in.
#[must_use]
pub fn find(arn: &Arn) -> Option<&'static ManagedByAws> {
    ALL.get(arn.as_str())
}

/// Whether the ARN is one of the tasks of `AssumeRoot`. They only take away: within a task, root may do what is left.
#[must_use]
pub fn is_root_task(arn: &Arn) -> bool {
    arn.as_str().starts_with(ROOT_TASK) && find(arn).is_some()
}

/// The ARNs of all that are built in.
pub fn arns() -> impl Iterator<Item = &'static str> {
    ALL.keys().map(String::as_str)
}

/// ARNs and names of those that can be attached; tasks of root are not among them.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = ALL.keys().map(String::as_str).filter(|arn| !arn.starts_with(ROOT_TASK));
    all.map(|arn| (arn, arn.rsplit('/').next().unwrap_or_default()))
}

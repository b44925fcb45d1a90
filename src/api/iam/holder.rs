//! Inline and attached policies of whatever holds them: the same seven operations for roles and for users.
//!
//! What they do is written once, over [`PolicyHolder`]; the macro gives each kind of holder its operations, which differ in
//! their names and in the name of one member.

use super::{MAX_ATTACHED_POLICIES, check_document, no_such, weight};
use crate::{
    domain::{Arn, Error, ErrorKind, iam::Role, name::PolicyName, user::User},
    gateway::{Access, Scope},
    policy::{DocumentKind, evaluate::Check},
    store::{Snapshot, WriteTx},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Display, sync::Arc};

/// An entity that policies can be put on.
pub(super) trait PolicyHolder: Clone + Send + Sync {
    /// Type of its name.
    type Name: Display + Sync;
    /// What refusals call it.
    const WORD: &'static str;
    /// The quota of attached policies, by AWS's name for it.
    const QUOTA: &'static str;
    /// All inline policies together, in characters without white space.
    const MAX_INLINE: usize;
    /// The holder of this name in the caller's account.
    fn find<'s>(snapshot: &'s Snapshot, scope: &Scope, name: &Self::Name) -> Result<&'s Self, Error>;
    /// The ARN that a holder of this name in the caller's account has, or would have.
    fn arn_of(scope: &Scope, name: &Self::Name) -> Result<Arn, Error>;
    /// Its ARN.
    fn arn(&self) -> Arn;
    /// Its inline policies.
    fn inline(&mut self) -> &mut BTreeMap<PolicyName, Arc<str>>;
    /// Its attached policies.
    fn attached(&mut self) -> &mut Vec<Arn>;
    /// Writes it.
    fn write(&self, tx: &mut WriteTx<'_>) -> impl Future<Output = Result<(), Error>> + Send;
}

impl PolicyHolder for Role {
    type Name = crate::domain::name::RoleName;
    const WORD: &'static str = "role";
    const QUOTA: &'static str = "PoliciesPerRole";
    const MAX_INLINE: usize = super::MAX_INLINE_POLICIES;
    fn find<'s>(snapshot: &'s Snapshot, scope: &Scope, name: &Self::Name) -> Result<&'s Self, Error> {
        super::roles::find(snapshot, scope, name).map(|role| &role.role)
    }
    fn arn_of(scope: &Scope, name: &Self::Name) -> Result<Arn, Error> {
        scope.role_arn(name.as_str())
    }
    fn arn(&self) -> Arn {
        Self::arn(self)
    }
    fn inline(&mut self) -> &mut BTreeMap<PolicyName, Arc<str>> {
        &mut self.inline_policies
    }
    fn attached(&mut self) -> &mut Vec<Arn> {
        &mut self.attached_policies
    }
    async fn write(&self, tx: &mut WriteTx<'_>) -> Result<(), Error> {
        tx.put_role(self).await
    }
}

impl PolicyHolder for User {
    type Name = crate::domain::name::IamUserName;
    const WORD: &'static str = "user";
    const QUOTA: &'static str = "PoliciesPerUser";
    const MAX_INLINE: usize = super::MAX_USER_INLINE_POLICIES;
    fn find<'s>(snapshot: &'s Snapshot, scope: &Scope, name: &Self::Name) -> Result<&'s Self, Error> {
        super::users::find(snapshot, scope, name).map(|user| &user.user)
    }
    fn arn_of(scope: &Scope, name: &Self::Name) -> Result<Arn, Error> {
        scope.user_arn(name.as_str())
    }
    fn arn(&self) -> Arn {
        Self::arn(self)
    }
    fn inline(&mut self) -> &mut BTreeMap<PolicyName, Arc<str>> {
        &mut self.inline_policies
    }
    fn attached(&mut self) -> &mut Vec<Arn> {
        &mut self.attached_policies
    }
    async fn write(&self, tx: &mut WriteTx<'_>) -> Result<(), Error> {
        tx.put_iam_user(self).await
    }
}

/// Changes a holder in the transaction.
pub(super) async fn change<H: PolicyHolder>(
    tx: &mut WriteTx<'_>,
    scope: &Scope,
    name: &H::Name,
    edit: impl FnOnce(&mut H) -> Result<(), Error>,
) -> Result<H, Error> {
    let mut holder = H::find(&tx.snapshot, scope, name)?.clone();
    edit(&mut holder)?;
    tx.note(if H::WORD == "role" { "roleArn" } else { "userArn" }, holder.arn());
    holder.write(tx).await?;
    Ok(holder)
}

/// A check on a holder of the caller's account.
pub(super) fn on<H: PolicyHolder>(action: &str, scope: &Scope, name: &H::Name) -> Result<Access, Error> {
    Ok(Access::Signed(vec![Check::new(action, H::arn_of(scope, name)?)]))
}

/// The same, with the policy as a condition key.
pub(super) fn on_attachment<H: PolicyHolder>(action: &str, scope: &Scope, name: &H::Name, policy: &Arn) -> Result<Access, Error> {
    let check = Check::new(action, H::arn_of(scope, name)?).with_key("iam:PolicyARN", vec![policy.to_string()]);
    Ok(Access::Signed(vec![check]))
}

/// Writes an inline policy.
pub(super) async fn put<H: PolicyHolder>(
    tx: &mut WriteTx<'_>,
    scope: &Scope,
    name: &H::Name,
    policy: PolicyName,
    document: String,
) -> Result<(), Error> {
    check_document(&document, DocumentKind::Identity, H::MAX_INLINE)?;
    tx.note("policyName", &policy);
    tx.note("policyDocument", &document);
    let edit = |holder: &mut H| {
        holder.inline().insert(policy, document.into());
        if holder.inline().values().map(|text| weight(text)).sum::<usize>() > H::MAX_INLINE {
            let message = format!("Maximum policy size of {} bytes exceeded for {} {name}", H::MAX_INLINE, H::WORD);
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    };
    change(tx, scope, name, edit).await?;
    Ok(())
}

/// The text of an inline policy.
pub(super) fn document<H: PolicyHolder>(
    snapshot: &Snapshot,
    scope: &Scope,
    name: &H::Name,
    policy: &PolicyName,
) -> Result<String, Error> {
    let mut holder = H::find(snapshot, scope, name)?.clone();
    let document = holder.inline().remove(policy);
    document.map(|text| text.to_string()).ok_or_else(|| no_such(&format!("{} policy", H::WORD), policy.as_str()))
}

/// Names of inline policies.
pub(super) fn names<H: PolicyHolder>(
    snapshot: &Snapshot,
    scope: &Scope,
    name: &H::Name,
    marker: Option<&str>,
    limit: Option<u32>,
) -> Result<PolicyNames, Error> {
    let mut holder = H::find(snapshot, scope, name)?.clone();
    let names = std::mem::take(holder.inline()).into_keys();
    let (policy_names, marker) = crate::api::page(names, ToString::to_string, marker, limit)?;
    Ok(PolicyNames { policy_names, is_truncated: marker.is_some(), marker })
}

/// Deletes an inline policy.
pub(super) async fn delete<H: PolicyHolder>(
    tx: &mut WriteTx<'_>,
    scope: &Scope,
    name: &H::Name,
    policy: &PolicyName,
) -> Result<(), Error> {
    tx.note("policyName", policy);
    let edit = |holder: &mut H| {
        let found = holder.inline().remove(policy);
        found.map(drop).ok_or_else(|| no_such(&format!("{} policy", H::WORD), policy.as_str()))
    };
    change(tx, scope, name, edit).await?;
    Ok(())
}

/// Attaches a managed policy, of the same account or of AWS.
pub(super) async fn attach<H: PolicyHolder>(
    tx: &mut WriteTx<'_>,
    scope: &Scope,
    name: &H::Name,
    policy: Arn,
) -> Result<(), Error> {
    let account = scope.account()?;
    let own = policy.account().is_none_or(|owner| owner == *account);
    if !own || tx.snapshot.policy(&policy).is_none() {
        let message = format!("Policy {policy} does not exist or is not attachable.");
        return Err(Error::new(ErrorKind::NoSuchEntity, message));
    }
    tx.note("policyArn", &policy);
    let edit = |holder: &mut H| {
        let attached = holder.attached();
        if !attached.contains(&policy) {
            attached.push(policy);
        }
        if attached.len() > MAX_ATTACHED_POLICIES {
            let message = format!("Cannot exceed quota for {}: {MAX_ATTACHED_POLICIES}", H::QUOTA);
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    };
    change(tx, scope, name, edit).await?;
    Ok(())
}

/// Detaches a managed policy.
pub(super) async fn detach<H: PolicyHolder>(
    tx: &mut WriteTx<'_>,
    scope: &Scope,
    name: &H::Name,
    policy: &Arn,
) -> Result<(), Error> {
    tx.note("policyArn", policy);
    let edit = |holder: &mut H| {
        let before = holder.attached().len();
        holder.attached().retain(|arn| arn != policy);
        if holder.attached().len() == before {
            return Err(Error::new(ErrorKind::NoSuchEntity, format!("Policy {policy} was not found.")));
        }
        Ok(())
    };
    change(tx, scope, name, edit).await?;
    Ok(())
}

/// Attached managed policies.
pub(super) fn attached<H: PolicyHolder>(
    snapshot: &Snapshot,
    scope: &Scope,
    name: &H::Name,
    marker: Option<&str>,
    limit: Option<u32>,
) -> Result<AttachedPolicies, Error> {
    let mut holder = H::find(snapshot, scope, name)?.clone();
    let arns = std::mem::take(holder.attached()).into_iter();
    let (page, marker) = crate::api::page(arns, ToString::to_string, marker, limit)?;
    let detail = |arn: Arn| AttachedPolicy { policy_name: arn.resource_name().to_owned(), policy_arn: arn };
    Ok(AttachedPolicies { attached_policies: page.into_iter().map(detail).collect(), is_truncated: marker.is_some(), marker })
}

/// Names of inline policies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyNames {
    /// A page of names.
    pub policy_names: Vec<PolicyName>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// Attached managed policies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttachedPolicies {
    /// A page of policies.
    pub attached_policies: Vec<AttachedPolicy>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// An attached policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttachedPolicy {
    /// Its name.
    pub policy_name: String,
    /// Its ARN.
    pub policy_arn: Arn,
}

/// The seven operations of a kind of holder.
macro_rules! operations {
    ($holder:ty, $name:ty, $field:ident, $answer:ident,
     [$put:ident, $get:ident, $list:ident, $delete:ident, $attach:ident, $detach:ident, $list_attached:ident]) => {
        use super::{EncodedDocument, Iam, holder::{self, AttachedPolicies, PolicyNames}};
        use crate::{
            domain::{Arn, Error, name::PolicyName},
            gateway::{Access, Call, Operation, Read, Scope, Write},
        };
        use serde::{Deserialize, Serialize};

        operations!(@shape $put, "Writes an inline policy.", $field: $name, {
            /// Unique on its holder.
            pub policy_name: PolicyName,
            /// JSON.
            pub policy_document: String,
        });
        operations!(@shape $get, "Reads an inline policy.", $field: $name, {
            /// The policy.
            pub policy_name: PolicyName,
        });
        operations!(@shape $list, "Lists names of inline policies.", $field: $name, {
            /// From the last page.
            pub marker: Option<String>,
            /// 1 to 1000, default 100.
            pub max_items: Option<u32>,
        });
        operations!(@shape $delete, "Deletes an inline policy.", $field: $name, {
            /// The policy.
            pub policy_name: PolicyName,
        });
        operations!(@shape $attach, "Attaches a managed policy.", $field: $name, {
            /// The policy, of the same account or of AWS.
            pub policy_arn: Arn,
        });
        operations!(@shape $detach, "Detaches a managed policy.", $field: $name, {
            /// The policy.
            pub policy_arn: Arn,
        });
        operations!(@shape $list_attached, "Lists attached managed policies.", $field: $name, {
            /// From the last page.
            pub marker: Option<String>,
            /// 1 to 1000, default 100.
            pub max_items: Option<u32>,
        });

        /// An inline policy.
        #[derive(Debug, Serialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $answer {
            /// Its holder.
            pub $field: $name,
            /// The policy.
            pub policy_name: PolicyName,
            /// Its document.
            pub policy_document: EncodedDocument,
        }

        operations!(@run $put, Write, (), |this, call| {
            let scope = call.scope;
            holder::put::<$holder>(&mut call.tx, scope, &this.$field, this.policy_name, this.policy_document).await
        }, $holder, $field);
        operations!(@run $get, Read, $answer, |this, call| {
            let text = holder::document::<$holder>(&call.tx.snapshot, call.scope, &this.$field, &this.policy_name)?;
            Ok($answer { $field: this.$field, policy_name: this.policy_name, policy_document: EncodedDocument(text) })
        }, $holder, $field);
        operations!(@run $list, Read, PolicyNames, |this, call| {
            let (marker, limit) = (this.marker.as_deref(), this.max_items);
            holder::names::<$holder>(&call.tx.snapshot, call.scope, &this.$field, marker, limit)
        }, $holder, $field);
        operations!(@run $delete, Write, (), |this, call| {
            let scope = call.scope;
            holder::delete::<$holder>(&mut call.tx, scope, &this.$field, &this.policy_name).await
        }, $holder, $field);
        operations!(@run $attach, Write, (), |this, call| {
            let scope = call.scope;
            holder::attach::<$holder>(&mut call.tx, scope, &this.$field, this.policy_arn).await
        }, $holder, $field, policy_arn);
        operations!(@run $detach, Write, (), |this, call| {
            let scope = call.scope;
            holder::detach::<$holder>(&mut call.tx, scope, &this.$field, &this.policy_arn).await
        }, $holder, $field, policy_arn);
        operations!(@run $list_attached, Read, AttachedPolicies, |this, call| {
            let (marker, limit) = (this.marker.as_deref(), this.max_items);
            holder::attached::<$holder>(&call.tx.snapshot, call.scope, &this.$field, marker, limit)
        }, $holder, $field);
    };
    (@shape $operation:ident, $doc:literal, $field:ident: $name:ty, { $($rest:tt)* }) => {
        #[doc = $doc]
        #[derive(Debug, Serialize, Deserialize)]
        #[serde(rename_all = "PascalCase", deny_unknown_fields)]
        pub struct $operation {
            /// The holder.
            pub $field: $name,
            $($rest)*
        }
    };
    (@run $operation:ident, $mode:ty, $output:ty, |$this:ident, $call:ident| $body:block, $holder:ty, $field:ident $(, $policy:ident)?) => {
        impl Operation for $operation {
            type Service = Iam;
            type Mode = $mode;
            type Output = $output;
            const NAME: &'static str = stringify!($operation);

            fn access(&self, scope: &Scope) -> Result<Access, Error> {
                let action = concat!("iam:", stringify!($operation));
                operations!(@access action, scope, self, $holder, $field $(, $policy)?)
            }

            async fn run(self, $call: &mut Call<'_, Self>) -> Result<$output, Error> {
                let $this = self;
                $body
            }
        }
    };
    (@access $action:ident, $scope:ident, $this:ident, $holder:ty, $field:ident) => {
        holder::on::<$holder>($action, $scope, &$this.$field)
    };
    (@access $action:ident, $scope:ident, $this:ident, $holder:ty, $field:ident, $policy:ident) => {
        holder::on_attachment::<$holder>($action, $scope, &$this.$field, &$this.$policy)
    };
}
pub(super) use operations;

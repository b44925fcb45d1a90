//! The pure policy engine: documents in, decisions with reasons out.
//!
//! # Evaluation order
//! One question is `(principal, action, resource, context)`. What may answer it, in this order
//! (IAM user guide, "Policy evaluation logic"; the numbers are tested case by case in `tests/data/policy`):
//!
//! 1. **An explicit deny anywhere wins.** Identity policies, session policies and the resource's own policy are all
//!    searched for a matching `Deny` first.
//! 2. **The resource's policy** (for us: a role's trust policy) may allow by itself when it names the caller's role or
//!    session; when it names the caller's account it only *opens the door* for identity policies.
//! 3. **Identity policies** of the caller's role must allow otherwise.
//! 4. **Session policies** cap: what they do not allow is not allowed, whatever 3 said.
//! 5. Across accounts both sides must allow.
//! 6. Federated callers of `AssumeRoleWithSAML` / `…WithWebIdentity` have no identity side: the trust policy decides alone.
//!
//! Nothing matched is a denial. [`Permit`] can only be made here, and without one there is no transaction and no credential.

pub mod compile;
pub mod condition;
pub mod decision;
pub mod document;
pub mod evaluate;
pub mod pattern;

pub use compile::CompiledRole;
pub use condition::Context;
pub use decision::{Decision, Denial, Explanation, Grant, Permit, StatementTrace};
pub use document::{Document, DocumentKind, MalformedDocument};

//! The pure policy engine: documents in, decisions with reasons out. No I/O, no clock, no randomness.
//!
//! # From text to decision
//! [`Document`] is what a person wrote, with positions; [`Policy`] is what it does, compiled; a [`PolicySet`] is all policies
//! of one layer behind an index; [`evaluate::Layers`] are the layers that may speak about one [`Request`]; and
//! [`evaluate::decide`] makes a [`evaluate::Verdict`] of them without allocating. Explaining is a second pass over the same
//! compiled statements, made only when somebody asks.
//!
//! # Evaluation order
//! One question is `(principal, action, resource, context)`. What may answer it, in this order
//! (IAM user guide, "Policy evaluation logic"; tested case by case in `tests/data/policy`):
//!
//! 1. **An explicit deny anywhere wins**, in any layer.
//! 2. **Guardrails of the organization** cap: each level of service control policies on the way to the caller's account, and
//!    of resource control policies on the way to the resource's, must allow. The management account and service-linked
//!    roles are exempt from both, services from the former.
//! 3. **The resource's policy** (for us: a role's trust policy). In one account it may allow by itself: naming the caller's
//!    session or everyone needs nothing else; naming its role is capped by boundary and session policy; naming its account
//!    only *opens the door* for identity policies. Trust policies must allow in any case.
//! 4. **Identity policies** must allow otherwise, and **boundary** and **session policies** cap them.
//! 5. Across accounts both sides must allow.
//! 6. Services, anonymous callers, and federated callers of `AssumeRoleWithSAML` / `…WithWebIdentity` have no identity side:
//!    the resource's policy decides.
//!
//! Nothing matched is a denial. [`Permit`] can only be made here, and without one there is no transaction and no credential.

pub mod aws_managed;
pub mod catalogue;
pub mod condition;
pub mod context;
pub mod decision;
pub mod document;
pub mod element;
pub mod evaluate;
pub mod finding;
pub mod json;
pub mod pattern;
#[allow(clippy::module_inception, reason = "the floor is named after what it is about")]
pub mod policy;
pub mod principal;
pub mod request;
pub mod role;
pub mod rule;
pub mod set;
pub mod takeable;
pub mod validate;
mod value;

pub use context::Context;
pub use decision::{Decision, Denial, Explanation, Grant, Permit, StatementTrace};
pub use document::{Document, DocumentKind};
pub use finding::{Finding, FindingType, MalformedDocument};
pub use policy::Policy;
pub use principal::Identity;
pub use request::Request;
pub use role::{CompiledRole, CompiledUser, Library};
pub use set::{Named, PolicySet};
pub use takeable::TakeableRoles;

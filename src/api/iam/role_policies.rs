//! Inline and attached policies of roles.

use super::holder::operations;
use crate::domain::{iam::Role, name::RoleName};

operations!(
    Role,
    RoleName,
    role_name,
    RolePolicy,
    [
        PutRolePolicy,
        GetRolePolicy,
        ListRolePolicies,
        DeleteRolePolicy,
        AttachRolePolicy,
        DetachRolePolicy,
        ListAttachedRolePolicies
    ]
);

//! Inline and attached policies of users.

use super::holder::operations;
use crate::domain::{name::IamUserName, user::User};

operations!(
    User,
    IamUserName,
    user_name,
    UserPolicy,
    [
        PutUserPolicy,
        GetUserPolicy,
        ListUserPolicies,
        DeleteUserPolicy,
        AttachUserPolicy,
        DetachUserPolicy,
        ListAttachedUserPolicies
    ]
);

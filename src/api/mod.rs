//! The operations. Each service's file holds its error table, its operations, and its table of contents.

pub mod access_analyzer;
pub mod apply;
pub mod audit_log;
pub mod cloudtrail;
pub mod directory;
pub mod iam;
pub mod keys;
pub mod metadata;
pub mod organizations;
mod refresh;
pub mod rolesanywhere;
pub mod scim;
pub mod settings;
pub mod sign_out;
pub mod signin;
pub mod sso;
pub mod sso_admin;
pub mod sso_oidc;
pub mod sts;

use crate::{domain::Error, gateway::Entry};
use serde::Serializer;

/// Every service's table of contents.
pub const TABLES: &[&[Entry]] = &[
    sts::TABLE,
    iam::TABLE,
    organizations::TABLE,
    cloudtrail::TABLE,
    access_analyzer::TABLE,
    rolesanywhere::TABLE,
    sso_oidc::TABLE,
    sso::TABLE,
    sso_admin::TABLE,
    signin::TABLE,
    directory::TABLE,
    scim::TABLE,
    sign_out::TABLE,
    apply::TABLE,
    metadata::TABLE,
];

/// One page of a list: the items after the marker, at most `limit`, and the marker of the next page.
///
/// # Errors
/// `InvalidInput` for a limit of 0 or more than 1000.
pub(crate) fn page<T>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> String,
    marker: Option<&str>,
    limit: Option<u32>,
) -> Result<(Vec<T>, Option<String>), Error> {
    let limit = limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Error::invalid("a page has 1 to 1000 items"));
    }
    let limit = usize::try_from(limit).unwrap_or(1000);
    let mut rest = items.skip_while(|item| marker.is_some_and(|marker| key(item).as_str() <= marker)).peekable();
    let page: Vec<T> = rest.by_ref().take(limit).collect();
    let next = if rest.peek().is_some() { page.last().map(key) } else { None };
    Ok((page, next))
}

/// awsJson1.1 writes times as epoch **seconds**, with a fraction.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn epoch_seconds<S: Serializer>(time: &crate::domain::Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of this era fit a double exactly")]
    serializer.serialize_f64(time.0 as f64 / 1000.0)
}

//! The audit log as a whole: that it is unbroken; and that a backup was made.

use super::apply::{OPERATOR, Operator};
pub use crate::store::{AuditEvent, ChainReport, Head, Retention};
use crate::{
    domain::Error,
    gateway::{Access, Call, Issue, Operation, Read, Scope},
};
use serde::{Deserialize, Serialize};

/// Walks the chain of audit records from the oldest to the newest.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyAuditLog {
    /// A head that was noted elsewhere, which has to be part of it.
    pub noted: Option<Head>,
}

/// Leaves a record that a backup of the store begins.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginBackup {}

impl Operation for BeginBackup {
    type Service = Operator;
    type Mode = Issue;
    type Output = ();
    const NAME: &'static str = "BeginBackup";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: OPERATOR })
    }

    async fn run(self, _call: &mut Call<'_, Self>) -> Result<(), Error> {
        Ok(())
    }
}

impl Operation for VerifyAuditLog {
    type Service = Operator;
    type Mode = Read;
    type Output = ChainReport;
    const NAME: &'static str = "VerifyAuditLog";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: OPERATOR })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ChainReport, Error> {
        call.tx.verify_audit(self.noted.as_ref()).await
    }
}

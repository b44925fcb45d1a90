//! Changes of trust policies that wait for a second person. No decision depends on them until they are made.

use super::{
    ReadTx, WriteTx,
    sql::{self, Row},
};
use crate::domain::{Error, Timestamp};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustProposal {
    /// Unique.
    pub id: String,
    /// The role, by its unique id.
    pub role_id: String,
    /// The trust policy as it is to be.
    pub document: String,
    /// The trust policy that it was made from, as it stands in the store.
    pub base: String,
    /// What for.
    pub reason: String,
    /// Who asks: `<provider>:<subject>`.
    pub proposer: String,
    /// Who that is in the directory, by id, where they are in it.
    pub directory_user: Option<String>,
    /// When.
    pub created: Timestamp,
}

impl ReadTx<'_> {
    /// All of them, the oldest first.
    ///
    /// # Errors
    /// `Unavailable`, as for everything here.
    pub async fn trust_proposals(&self) -> Result<Vec<TrustProposal>, Error> {
        let query = sql::query("SELECT * FROM trust_proposal ORDER BY created, id");
        Ok(query.fetch_all(&self.store.readers).await?.iter().map(proposal).collect())
    }
}

impl WriteTx<'_> {
    /// One of them, as this transaction sees it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn trust_proposal(&mut self, id: &str) -> Result<Option<TrustProposal>, Error> {
        let query = sql::query("SELECT * FROM trust_proposal WHERE id = $1").bind(id);
        Ok(query.fetch_optional(&mut self.tx).await?.as_ref().map(proposal))
    }

    /// Keeps a proposal.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_trust_proposal(&mut self, proposal: &TrustProposal) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO trust_proposal (id, role_id, document, base, reason, proposer, directory_user, created)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        );
        let query = query
            .bind(proposal.id.clone())
            .bind(proposal.role_id.clone())
            .bind(proposal.document.clone())
            .bind(proposal.base.clone())
            .bind(proposal.reason.clone())
            .bind(proposal.proposer.clone())
            .bind(proposal.directory_user.clone())
            .bind(proposal.created.0);
        self.aside(query).await.map(drop)
    }

    /// Removes a proposal.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_trust_proposal(&mut self, id: &str) -> Result<(), Error> {
        self.aside(sql::query("DELETE FROM trust_proposal WHERE id = $1").bind(id.to_owned())).await.map(drop)
    }
}

fn proposal(row: &Row) -> TrustProposal {
    TrustProposal {
        id: row.get("id"),
        role_id: row.get("role_id"),
        document: row.get("document"),
        base: row.get("base"),
        reason: row.get("reason"),
        proposer: row.get("proposer"),
        directory_user: row.get("directory_user"),
        created: Timestamp(row.get("created")),
    }
}

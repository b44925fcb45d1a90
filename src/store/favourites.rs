//! Roles that people keep at hand in the portal. No decision depends on them.

use super::{
    ReadTx, WriteTx,
    entities::damaged,
    sql::{self, Row},
};
use crate::domain::{Error, name::AccountId};

impl ReadTx<'_> {
    /// A person's favourites, as account and role name.
    ///
    /// # Errors
    /// `Unavailable`, as for everything here.
    pub async fn favourite_roles(&self, person: &str) -> Result<Vec<(AccountId, String)>, Error> {
        let query = sql::query("SELECT account, role FROM favourite_role WHERE person = $1 ORDER BY account, role").bind(person);
        let rows = query.fetch_all(&self.store.readers).await?;
        let read =
            |row: &Row| Ok((AccountId::parse(row.get("account")).map_err(|e| damaged("favourite_role", e))?, row.get("role")));
        rows.iter().map(read).collect()
    }
}

impl WriteTx<'_> {
    /// Makes a role a favourite of a person's, or takes that back.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_favourite_role(&mut self, person: &str, account: &AccountId, role: &str, on: bool) -> Result<(), Error> {
        let sql = if on {
            "INSERT INTO favourite_role (person, account, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM favourite_role WHERE person = $1 AND account = $2 AND role = $3"
        };
        let query = sql::query(sql).bind(person.to_owned()).bind(account.to_string()).bind(role.to_owned());
        self.aside(query).await.map(drop)
    }
}

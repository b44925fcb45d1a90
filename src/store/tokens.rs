//! Tokens of SCIM clients. Only their hashes are kept.

use super::{
    ReadTx, WriteTx,
    entities::damaged,
    sql::{self, Row},
};
use crate::domain::{
    Error, Timestamp,
    directory::{BearerToken, TokenScope},
};

impl ReadTx<'_> {
    /// Every token, by name.
    ///
    /// # Errors
    /// `Unavailable`, as for everything here.
    pub async fn bearer_tokens(&self) -> Result<Vec<BearerToken>, Error> {
        let query = sql::query("SELECT * FROM bearer_token ORDER BY name");
        query.fetch_all(&self.store.readers).await?.iter().map(token).collect()
    }

    /// A token by its id, and the SHA-256 of its secret in hexadecimal.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn bearer_token(&self, id: &str) -> Result<Option<(BearerToken, String)>, Error> {
        let query = sql::query("SELECT * FROM bearer_token WHERE id = $1").bind(id);
        let row = query.fetch_optional(&self.store.readers).await?;
        row.map(|row| Ok((token(&row)?, row.get("hash")))).transpose()
    }
}

impl WriteTx<'_> {
    /// Adds a token, with the SHA-256 of its secret in hexadecimal.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_bearer_token(&mut self, token: &BearerToken, hash: &str) -> Result<(), Error> {
        let query = sql::query(
            "INSERT INTO bearer_token (id, name, hash, scope, takeover, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        );
        let query = query
            .bind(token.id.clone())
            .bind(token.name.clone())
            .bind(hash.to_owned())
            .bind(token.scope.word())
            .bind(token.takeover)
            .bind(token.created.0)
            .bind(token.expires.0);
        self.aside(query).await.map(drop)
    }

    /// Removes a token; false when there is none.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete_bearer_token(&mut self, id: &str) -> Result<bool, Error> {
        let query = sql::query("DELETE FROM bearer_token WHERE id = $1").bind(id.to_owned());
        Ok(self.aside(query).await? > 0)
    }
}

fn token(row: &Row) -> Result<BearerToken, Error> {
    Ok(BearerToken {
        id: row.get("id"),
        name: row.get("name"),
        scope: TokenScope::parse(row.get("scope")).ok_or_else(|| damaged("bearer_token", "unknown scope"))?,
        takeover: row.get("takeover"),
        created: Timestamp(row.get("created")),
        expires: Timestamp(row.get("expires")),
    })
}

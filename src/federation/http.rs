//! The one outbound HTTP client of the broker: no redirects, bounded in time and size, https (plain http on loopback alone).

use super::metadata::is_safe;
use crate::domain::{Error, ErrorKind};
use std::{future::Future, pin::Pin, time::Duration};
use url::Url;

/// Largest answer read, in bytes.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// Outbound HTTP.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

/// An answer: status and body.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// At most [`MAX_ANSWER`] bytes.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HttpError(String);

impl Client {
    pub(super) fn new() -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(10))
            .user_agent(concat!("daypass/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::internal)?;
        Ok(Self(client))
    }

    /// GET, optionally with a bearer token.
    ///
    /// # Errors
    /// `IdentityProviderUnreachable`, also for any status but 200.
    pub async fn get(&self, url: &str, bearer: Option<&str>) -> Result<Vec<u8>, Error> {
        let unreachable = |why: String| {
            Error::new(ErrorKind::IdentityProviderUnreachable, "The identity provider could not be reached.").with_private(why)
        };
        let mut request = http::Request::get(url).header("accept", "application/json");
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Vec::new()).map_err(|error| unreachable(error.to_string()))?;
        let answer = self.send(request).await.map_err(|error| unreachable(format!("{url}: {error}")))?;
        if answer.status == 200 { Ok(answer.body) } else { Err(unreachable(format!("{url}: status {}", answer.status))) }
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Answer, HttpError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|error| HttpError(error.to_string()))?;
        if !is_safe(&url) {
            return Err(HttpError(format!("`{url}` is not an https address")));
        }
        let request = reqwest::Request::try_from(request).map_err(|error| HttpError(error.to_string()))?;
        let mut response = self.0.execute(request).await.map_err(|error| HttpError(causes(&error.without_url())))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| HttpError(error.without_url().to_string()))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(HttpError("the answer is too large".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }
}

/// An error with everything under it: the last cause says most.
fn causes(error: &dyn std::error::Error) -> String {
    let own = error.to_string();
    error.source().map_or_else(|| own.clone(), |source| format!("{own}: {}", causes(source)))
}

/// How `openidconnect` reaches the network: through the same limits.
impl<'c> openidconnect::AsyncHttpClient<'c> for Client {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<openidconnect::HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: openidconnect::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = self.send(request).await?;
            http::Response::builder()
                .status(answer.status)
                .header("content-type", "application/json")
                .body(answer.body)
                .map_err(|error| HttpError(error.to_string()))
        })
    }
}

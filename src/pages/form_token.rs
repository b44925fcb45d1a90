//! Forms carry a token of their browser's session, besides being checked for their origin (OWASP ASVS 5.0, 3.5.1). No page
//! has to remember it: it is put into each form of ours on its way out, and asked for on its way in.

use crate::{crypto::same, domain::Random};
use axum::{
    body::{Body, to_bytes},
    http::header,
    response::Response,
};
use tower_sessions::{Session, session::Error};

/// Where the session keeps it. Made anew when somebody signs in: who knew the one of before knows nothing.
pub(super) const KEY: &str = "form-token";
/// Name of the field.
const FIELD: &str = "form_token";
/// How forms of ours begin. Those that go to a provider have another address, and carry no token.
const FORM: &str = "<form method=\"post\" action=\"/";
/// Largest page, in bytes.
const MAX_PAGE: usize = 16 * 1024 * 1024;

/// Whether a form carries the session's token.
pub(super) async fn is_right(session: &Session, body: &[u8]) -> Result<bool, Error> {
    let known: Option<String> = session.get(KEY).await?;
    let sent = url::form_urlencoded::parse(body).find(|(name, _)| name == FIELD);
    Ok(known.zip(sent).is_some_and(|(known, (_, sent))| same(&known, &sent)))
}

/// Puts the token into the forms of a page.
pub(super) async fn add(session: &Session, random: &dyn Random, response: Response) -> Result<Response, Error> {
    let is_page = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_page {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let page = to_bytes(body, MAX_PAGE).await.unwrap_or_default();
    let Ok(page) = std::str::from_utf8(&page) else { return Ok(Response::from_parts(parts, Body::from(page))) };
    if !page.contains(FORM) {
        return Ok(Response::from_parts(parts, Body::from(page.to_owned())));
    }
    let token = match session.get::<String>(KEY).await? {
        Some(token) => token,
        None => {
            let token = random.token();
            session.insert(KEY, &token).await?;
            token
        }
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(with_token(page, &token))))
}

/// Behind the opening tag of each form. Templates escape what they are given: a `>` is the end of a tag.
fn with_token(page: &str, token: &str) -> String {
    let mut parts = page.split(FORM);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (rest_of_tag, inside) = part.split_once('>').unwrap_or((part, ""));
        out.push_str(FORM);
        out.push_str(rest_of_tag);
        out.push_str(&format!("><input type=\"hidden\" name=\"{FIELD}\" value=\"{token}\">"));
        out.push_str(inside);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_ours_gets_one_and_no_other() {
        let page = "<form method=\"post\" action=\"/a\" class=\"x\"><b>1</b></form><form method=\"get\" action=\"/b\"></form>\
                    <form method=\"post\" action=\"https://idp.example/\"></form><form method=\"post\" action=\"/c\"></form>";
        let out = with_token(page, "T");
        let field = "<input type=\"hidden\" name=\"form_token\" value=\"T\">";
        assert_eq!(out.matches(field).count(), 2);
        assert!(out.contains(&format!("class=\"x\">{field}<b>1</b>")) && out.contains(&format!("action=\"/c\">{field}</form>")));
        assert_eq!(out.replace(field, ""), page);
    }
}

//! Sending the browser to a provider.

use super::render;
use crate::federation::Departure;
use askama::Template;
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};

/// A form that goes to a provider: by itself where JavaScript is on, else with a button.
#[derive(Template)]
#[template(path = "hand_over.html")]
struct HandOverPage<'a> {
    title: &'a str,
    target: &'a str,
    host: &'a str,
    fields: &'a [(String, String)],
}

/// The answer that makes the browser go. None where our own password form comes next.
pub(super) fn depart(departure: &Departure, title: &str) -> Option<Response> {
    match departure {
        Departure::PasswordForm => None,
        Departure::Redirect(target) => Some(Redirect::to(target.as_str()).into_response()),
        Departure::Post { target, fields } => {
            let host = target.host_str().unwrap_or_default();
            let mut response = render(&HandOverPage { title, target: target.as_str(), host, fields });
            // This one page may send its form elsewhere: to the provider, which may send it on (the policy binds that, too).
            let policy = format!(
                "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action https: {}; base-uri 'none'; \
                 frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
                target.origin().ascii_serialization()
            );
            if let Ok(policy) = HeaderValue::from_str(&policy) {
                response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
            }
            Some(response)
        }
    }
}

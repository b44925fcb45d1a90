//! Messages of ours on their way out, always signed: in an address or in a form (SAML bindings 3.4 and 3.5).

use super::NAMESPACES;
use crate::{
    crypto::{xml::escape, xmldsig::sign},
    domain::Error,
    federation::{Departure, Federation, metadata::Binding},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::io::Write as _;
use url::Url;

/// A message to be sent.
pub(super) struct Outgoing<'a> {
    /// `AuthnRequest`, `LogoutRequest` or `LogoutResponse`.
    pub(super) element: &'static str,
    /// Its name.
    pub(super) id: &'a str,
    /// More attributes, each with a space before it.
    pub(super) attributes: String,
    /// What follows the Issuer.
    pub(super) body: String,
}

impl Outgoing<'_> {
    /// `SAMLRequest` or `SAMLResponse`.
    fn parameter(&self) -> &'static str {
        if self.element.ends_with("Response") { "SAMLResponse" } else { "SAMLRequest" }
    }

    fn xml(&self, federation: &Federation, target: &Url, signature: &str) -> String {
        let [(p, protocol), (a, assertion)] = NAMESPACES;
        format!(
            "<{p}:{element} xmlns:{p}=\"{protocol}\" xmlns:{a}=\"{assertion}\" ID=\"{id}\" Version=\"2.0\" IssueInstant=\"{now}\" \
             Destination=\"{target}\"{more}><{a}:Issuer>{issuer}</{a}:Issuer>{signature}{body}</{p}:{element}>",
            element = self.element,
            id = self.id,
            now = federation.clock.now(),
            target = escape(target.as_str()),
            more = self.attributes,
            issuer = escape(&federation.addresses.saml_entity_id()),
            body = self.body,
        )
    }

    /// Puts it on its way.
    pub(super) fn depart(
        &self,
        federation: &Federation,
        binding: Binding,
        target: &Url,
        relay_state: &str,
    ) -> Result<Departure, Error> {
        let keys = federation.store.saml_keys();
        let key = keys.current()?.private_key.expose();
        match binding {
            Binding::Redirect => {
                let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                deflate.write_all(self.xml(federation, target, "").as_bytes()).map_err(Error::internal)?;
                let encoded = STANDARD.encode(deflate.finish().map_err(Error::internal)?);
                let mut query = url::form_urlencoded::Serializer::new(String::new());
                query.append_pair(self.parameter(), &encoded);
                if !relay_state.is_empty() {
                    query.append_pair("RelayState", relay_state);
                }
                let query = query.finish();
                let query = sign::query(&query, key).map_err(Error::internal)?;
                let mut target = target.clone();
                let joined = target.query().map_or_else(|| query.clone(), |own| format!("{own}&{query}"));
                target.set_query(Some(&joined));
                Ok(Departure::Redirect(target))
            }
            Binding::Post => {
                let xml = self.xml(federation, target, &sign::template(self.id));
                let xml = sign::enveloped(&xml, key).map_err(Error::internal)?;
                let mut fields = vec![(self.parameter().to_owned(), STANDARD.encode(xml))];
                if !relay_state.is_empty() {
                    fields.push(("RelayState".to_owned(), relay_state.to_owned()));
                }
                Ok(Departure::Post { target: target.clone(), fields })
            }
        }
    }
}

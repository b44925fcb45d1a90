//! Metadata that a provider publishes: fetched, verified where a certificate is pinned, and looked at before it is believed.

use crate::{
    crypto::xmldsig::{self, Shape, SigningCertificate, Trust, Xmlsec},
    domain::{Error, ErrorKind, iam::SamlProvider},
    federation::{Federation, metadata},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

impl Federation {
    /// Fetches a provider's metadata. With a certificate (DER in base64) only what it signed is returned.
    ///
    /// # Errors
    /// `IdentityProviderUnreachable`, or `InvalidInput` with what is wrong with the document.
    pub async fn fetch_metadata(&self, url: &str, certificate: Option<&str>) -> Result<String, Error> {
        let bytes = self.http.get(url, None).await?;
        let wrong = |why: &dyn std::fmt::Display| Error::invalid(format!("The metadata at {url} can't be used: {why}"));
        let document = match certificate {
            None => String::from_utf8(bytes).map_err(|_| wrong(&"it is not UTF-8"))?,
            Some(certificate) => {
                let der = STANDARD.decode(certificate).map_err(|_| wrong(&"the pinned certificate is not base64"))?;
                let pinned = SigningCertificate::read(&der).and_then(|pinned| Trust::new(vec![pinned], false));
                let trust = pinned.map_err(|refusal| wrong(&refusal.detail))?;
                let verify = move |xmlsec: Xmlsec<'_>| xmldsig::verify(&bytes, Shape::Metadata, &trust, None, xmlsec);
                self.verifier.run(verify).await.map_err(|refusal| wrong(&refusal.detail))?.xml
            }
        };
        metadata::parse(&document).map_err(|refusal| wrong(&refusal.detail))?;
        Ok(document)
    }

    /// A provider's metadata of now; none when it publishes none, or nothing has changed.
    ///
    /// # Errors
    /// Those of [`Federation::fetch_metadata`], and `InvalidInput` for another entity ID: that would be another provider.
    pub async fn renewed(&self, saml: &SamlProvider) -> Result<Option<String>, Error> {
        let Some(url) = &saml.metadata_url else { return Ok(None) };
        let document = self.fetch_metadata(url, saml.metadata_certificate.as_deref()).await?;
        if document == saml.metadata {
            return Ok(None);
        }
        let entity = |text: &str| metadata::parse(text).map(|idp| idp.entity_id).ok();
        if entity(&document) != entity(&saml.metadata) {
            let error = Error::new(ErrorKind::InvalidInput, "The published metadata is of another entity than before.");
            return Err(error.with_private(format!("metadata_other_entity: {url}")));
        }
        Ok(Some(document))
    }
}

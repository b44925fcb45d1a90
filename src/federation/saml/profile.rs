//! Every check of the web SSO profile, on the signed octets alone (SAML profiles 4.1.4, core 2.3–2.5).

use super::super::{
    Addresses,
    mapping::{self, Mapped, SAML_ATTRIBUTE},
    metadata::IdpMetadata,
    recorder::Recording,
};
use crate::{
    crypto::{
        Refusal, refusal,
        xml::{self, MAX_MESSAGE, SAML, SAMLP, is, text},
        xmldsig::SignedXml,
    },
    domain::{
        Arn, Timestamp,
        iam::{IdentityProvider, MAX_CLOCK_SKEW_SECONDS, SamlProvider},
        name::{RoleSessionName, SourceIdentity},
        session::{FederationProtocol, IdentityAssertion, NameId, ProviderRef, ProviderSession},
    },
};
use roxmltree::Node;
use std::collections::BTreeMap;

/// How old an assertion may be, in seconds (STS redeems within five minutes of issue).
pub const MAX_AGE_SECONDS: i64 = 300;

const AWS_ATTRIBUTE: &str = "https://aws.amazon.com/SAML/Attributes/";

/// What an assertion must be for.
#[derive(Clone, Debug)]
pub struct Expect {
    acs: String,
    audiences: Vec<String>,
    in_response_to: Option<String>,
    /// When the request was made, where the person must have authenticated since.
    fresh_since: Option<Timestamp>,
    /// Authentication contexts one of which is required; empty: any.
    contexts: Vec<String>,
}

impl Expect {
    /// The answer to our own request.
    #[must_use]
    pub fn answer_to(
        addresses: &Addresses,
        settings: &SamlProvider,
        request_id: Option<String>,
        asked: Option<Timestamp>,
    ) -> Self {
        Self {
            acs: addresses.saml_acs(),
            audiences: vec![addresses.saml_entity_id()],
            // A step without a request id can't be answered: an id that nobody has.
            in_response_to: Some(request_id.unwrap_or_else(|| "none".to_owned())),
            fresh_since: asked.filter(|_| settings.force_authn),
            contexts: settings.authn_context.clone(),
        }
    }
    /// A sign-in that began at the provider: it must answer no request.
    #[must_use]
    pub fn unsolicited(addresses: &Addresses, settings: &SamlProvider, now: Timestamp) -> Self {
        // No request says since when: as fresh as the assertion itself.
        let since = now.plus_seconds(-MAX_AGE_SECONDS);
        Self { in_response_to: None, ..Self::answer_to(addresses, settings, None, Some(since)) }
    }
    /// Presented to STS by whoever holds it: it must be unsolicited, so that a response meant for a browser's sign-in is
    /// worth nothing here.
    #[must_use]
    pub fn presented(addresses: &Addresses, settings: &SamlProvider, now: Timestamp) -> Self {
        let audiences = vec![addresses.saml_entity_id(), "urn:amazon:webservices".to_owned()];
        Self { audiences, ..Self::unsolicited(addresses, settings, now) }
    }
}

/// Names an assertion for ever after, until it could not be accepted anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTimeMark {
    /// Provider and assertion ID.
    pub id: String,
    /// When it may be forgotten.
    pub until: Timestamp,
    /// When the assertion was issued; none where it does not say it, for which it is refused later.
    pub issued: Option<Timestamp>,
}

/// The assertion's one-time mark, to be burned before anything else is done with it.
///
/// # Errors
/// `signature_wrong_element`, `assertion_malformed`.
pub fn mark(idp: &IdpMetadata, signed: &SignedXml, now: Timestamp) -> Result<OneTimeMark, Refusal> {
    let document = xml::parse(&signed.xml, MAX_MESSAGE * 2)?;
    let assertion = assertion(document.root_element())?;
    let id = assertion.attribute("ID").filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| refusal("assertion_malformed", "the assertion has no ID"))?;
    // Issued in the future by the skew at most, and refused by its age after that: later it need not be known.
    // By the longest skew there can be: another source may know the same provider, with another one.
    let until = now.plus_seconds(MAX_AGE_SECONDS + 2 * i64::from(MAX_CLOCK_SKEW_SECONDS) + 1);
    Ok(OneTimeMark { id: format!("{} {id}", idp.entity_id), until, issued: time(assertion, "IssueInstant").ok().flatten() })
}

fn assertion<'a, 'x>(root: Node<'a, 'x>) -> Result<Node<'a, 'x>, Refusal> {
    if is(root, SAML, "Assertion") {
        Ok(root)
    } else if is(root, SAMLP, "Response") {
        child(root, "Assertion")
    } else {
        Err(refusal("signature_wrong_element", "what is signed is neither a Response nor an Assertion"))
    }
}

/// Every check of the profile, on the signed octets alone. Returns the assertion, and what names the person's session at the
/// provider.
///
/// # Errors
/// A refusal whose code names the check.
pub fn check(
    recording: &mut Recording,
    source: &IdentityProvider,
    settings: &SamlProvider,
    idp: &IdpMetadata,
    signed: &SignedXml,
    expect: &Expect,
    now: Timestamp,
) -> Result<(IdentityAssertion, ProviderSession), Refusal> {
    let document = xml::parse(&signed.xml, MAX_MESSAGE * 2)?;
    let assertion = assertion(document.root_element())?;
    let skew = settings.skew();
    let envelope = &signed.envelope;
    let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());

    recording.require(
        "status",
        "status_not_success",
        "Success",
        &envelope.status,
        envelope.status == "urn:oasis:names:tc:SAML:2.0:status:Success",
    )?;
    let destination_fits = match &envelope.destination {
        Some(destination) => *destination == expect.acs,
        None => !envelope.response_signed,
    };
    recording.require("destination", "destination_wrong", &expect.acs, show(&envelope.destination), destination_fits)?;
    recording.require(
        "response.in_response_to",
        "in_response_to_wrong",
        show(&expect.in_response_to),
        show(&envelope.in_response_to),
        envelope.in_response_to == expect.in_response_to || (envelope.in_response_to.is_none() && !envelope.response_signed),
    )?;
    let envelope_issuer_fits = envelope.issuer.as_ref().is_none_or(|issuer| *issuer == idp.entity_id);
    recording.require("response.issuer", "issuer_wrong", &idp.entity_id, show(&envelope.issuer), envelope_issuer_fits)?;

    recording.require(
        "version",
        "version_wrong",
        "2.0",
        assertion.attribute("Version").unwrap_or_default(),
        assertion.attribute("Version") == Some("2.0"),
    )?;
    let issuer_node = child(assertion, "Issuer")?;
    let issuer = plain(issuer_node)?;
    let format = issuer_node.attribute("Format").unwrap_or("urn:oasis:names:tc:SAML:2.0:nameid-format:entity");
    let issuer_fits = issuer == idp.entity_id && format == "urn:oasis:names:tc:SAML:2.0:nameid-format:entity";
    recording.require("issuer", "issuer_wrong", &idp.entity_id, &issuer, issuer_fits)?;
    let issued = time(assertion, "IssueInstant")?.ok_or_else(|| refusal("assertion_malformed", "IssueInstant is missing"))?;
    let age = now.seconds_since(issued);
    recording.require(
        "issue_instant",
        "assertion_too_old",
        format!("at most {MAX_AGE_SECONDS} s ago"),
        issued,
        age <= MAX_AGE_SECONDS + skew,
    )?;
    recording.require("issue_instant", "assertion_from_future", format!("before {now}"), issued, age >= -skew)?;

    check_conditions(recording, assertion, expect, skew, now)?;
    let subject_node = check_subject(recording, assertion, expect, skew, now)?;
    let statement = child(assertion, "AuthnStatement")?;
    let authenticated =
        time(statement, "AuthnInstant")?.ok_or_else(|| refusal("assertion_malformed", "AuthnInstant is missing"))?;
    if let Some(asked) = expect.fresh_since {
        recording.require(
            "authn_instant",
            "authentication_stale",
            format!("since {asked}"),
            authenticated,
            authenticated.plus_seconds(skew) >= asked,
        )?;
    }
    let context = statement.descendants().find(|node| is(*node, SAML, "AuthnContextClassRef")).map(text).unwrap_or_default();
    recording.state("factors", if context.is_empty() { "the provider names none" } else { &context });
    if !expect.contexts.is_empty() {
        recording.require(
            "authn_context",
            "authn_context_wrong",
            expect.contexts.join(" or "),
            &context,
            expect.contexts.contains(&context),
        )?;
    }
    let not_after = time(statement, "SessionNotOnOrAfter")?;
    recording.require(
        "session_not_on_or_after",
        "assertion_expired",
        format!("after {now}"),
        not_after.unwrap_or(now.plus_seconds(1)),
        not_after.is_none_or(|end| end > now),
    )?;

    let subject_type = match subject_node.attribute("Format") {
        Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent") => Some("persistent".to_owned()),
        Some("urn:oasis:names:tc:SAML:2.0:nameid-format:transient") => Some("transient".to_owned()),
        other => other.map(str::to_owned),
    };
    let attributes = attributes(assertion)?;
    let values = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    let name_id = plain(subject_node)?;
    let mapped = mapping::saml_tags(&attributes).and_then(|own| Mapped::new(&settings.mapping, &own, values));
    recording.mapping(&mapped);
    let mapped = mapped?;
    let subject = mapped.subject.clone().unwrap_or_else(|| name_id.clone());
    let claims = claims(&mapped, &attributes, &issuer, &subject, subject_type.as_deref(), &expect.acs);
    let one = |name: &str| attributes.get(name).and_then(|values| values.first()).cloned();
    let short = |name: &str| claims.get(&format!("saml:{name}")).and_then(|values| values.first()).cloned();
    let e_mail = subject_type.as_deref() == Some("urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress");
    let aws = |name: &str| one(&format!("{AWS_ATTRIBUTE}{name}"));
    let malformed = |what: &str| refusal("attribute_malformed", format!("the attribute {what} is malformed"));
    let identity = IdentityAssertion {
        provider: ProviderRef {
            owner: source.owner.clone(),
            name: source.name.to_string(),
            resource: source.resource(),
            protocol: FederationProtocol::Saml,
        },
        name: short("name").or_else(|| one("displayName")),
        email: short("email").or_else(|| one("mail")).or_else(|| e_mail.then(|| subject.clone())),
        role_session_name: aws("RoleSessionName")
            .map(|name| RoleSessionName::parse(&name))
            .transpose()
            .map_err(|_| malformed("RoleSessionName"))?,
        session_seconds: aws("SessionDuration").map(|text| text.parse()).transpose().map_err(|_| malformed("SessionDuration"))?,
        source_identity: aws("SourceIdentity")
            .map(|text| SourceIdentity::parse(&text))
            .transpose()
            .map_err(|_| malformed("SourceIdentity"))?,
        tags: mapped.tags,
        roles: attributes.get(&format!("{AWS_ATTRIBUTE}Role")).into_iter().flatten().filter_map(|pair| role_pair(pair)).collect(),
        issuer,
        subject,
        subject_type,
        audience: expect.acs.clone(),
        claims,
        authenticated,
        asserted_authentication: Some(authenticated),
        methods: (!context.is_empty()).then_some(context).into_iter().collect(),
        not_after,
    };
    let attribute = |name: &str| subject_node.attribute(name).map(str::to_owned);
    let at_provider = ProviderSession::Saml {
        name_id: NameId {
            value: name_id,
            format: attribute("Format"),
            name_qualifier: attribute("NameQualifier"),
            sp_name_qualifier: attribute("SPNameQualifier"),
        },
        index: statement.attribute("SessionIndex").map(str::to_owned),
    };
    Ok((identity, at_provider))
}

fn check_conditions(
    recording: &mut Recording,
    assertion: Node<'_, '_>,
    expect: &Expect,
    skew: i64,
    now: Timestamp,
) -> Result<(), Refusal> {
    let conditions = child(assertion, "Conditions")?;
    let not_before = time(conditions, "NotBefore")?;
    let not_on_or_after = time(conditions, "NotOnOrAfter")?;
    let window = not_before.zip(not_on_or_after).is_none_or(|(begin, end)| begin < end);
    let shown = |time: Option<Timestamp>| time.map_or_else(|| "open".to_owned(), |time| time.to_string());
    let both = format!("{} to {}", shown(not_before), shown(not_on_or_after));
    recording.require("conditions.window", "conditions_inverted", "NotBefore before NotOnOrAfter", both, window)?;
    if let Some(begin) = not_before {
        recording.require(
            "conditions.not_before",
            "assertion_not_yet_valid",
            format!("at most {now}"),
            begin,
            begin.seconds_since(now) <= skew,
        )?;
    }
    if let Some(end) = not_on_or_after {
        recording.require(
            "conditions.not_on_or_after",
            "assertion_expired",
            format!("after {now}"),
            end,
            now < end.plus_seconds(skew),
        )?;
    }
    let mut restrictions = 0;
    for condition in conditions.children().filter(Node::is_element) {
        if is(condition, SAML, "AudienceRestriction") {
            restrictions += 1;
            let audiences = condition.children().filter(|node| is(*node, SAML, "Audience")).map(plain);
            let audiences = audiences.collect::<Result<Vec<_>, _>>()?;
            let ours = audiences.iter().any(|audience| expect.audiences.contains(audience));
            recording.require("audience", "audience_wrong", expect.audiences.join(" or "), audiences.join(", "), ours)?;
        } else if !is(condition, SAML, "OneTimeUse") && !is(condition, SAML, "ProxyRestriction") {
            return Err(refusal("condition_unknown", format!("the condition {} is not known", condition.tag_name().name())));
        }
    }
    recording.require("audience", "audience_missing", "an AudienceRestriction", restrictions, restrictions > 0)
}

/// The subject's NameID, with a bearer confirmation that is for us and holds.
fn check_subject<'a, 'x>(
    recording: &mut Recording,
    assertion: Node<'a, 'x>,
    expect: &Expect,
    skew: i64,
    now: Timestamp,
) -> Result<Node<'a, 'x>, Refusal> {
    let subject = child(assertion, "Subject")?;
    let name_id = child(subject, "NameID")?;
    recording.require("subject", "subject_blank", "a NameID", text(name_id), !text(name_id).is_empty())?;
    let bearer = subject
        .children()
        .filter(|node| is(*node, SAML, "SubjectConfirmation"))
        .find(|node| node.attribute("Method") == Some("urn:oasis:names:tc:SAML:2.0:cm:bearer"))
        .ok_or_else(|| refusal("confirmation_not_bearer", "there is no bearer confirmation"))?;
    let data = child(bearer, "SubjectConfirmationData")?;
    let recipient = data.attribute("Recipient").unwrap_or("nothing");
    recording.require("recipient", "recipient_wrong", &expect.acs, recipient, recipient == expect.acs)?;
    let until =
        time(data, "NotOnOrAfter")?.ok_or_else(|| refusal("confirmation_unbounded", "the confirmation has no NotOnOrAfter"))?;
    recording.require(
        "confirmation.not_on_or_after",
        "assertion_expired",
        format!("after {now}"),
        until,
        now < until.plus_seconds(skew),
    )?;
    recording.require(
        "confirmation.not_before",
        "confirmation_not_before",
        "nothing",
        data.attribute("NotBefore").unwrap_or("nothing"),
        !data.has_attribute("NotBefore"),
    )?;
    let answered = data.attribute("InResponseTo");
    let wanted = expect.in_response_to.as_deref();
    recording.require(
        "in_response_to",
        "in_response_to_wrong",
        wanted.unwrap_or("nothing"),
        answered.unwrap_or("nothing"),
        answered == wanted,
    )?;
    Ok(name_id)
}

fn attributes(assertion: Node<'_, '_>) -> Result<BTreeMap<String, Vec<String>>, Refusal> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let statements = assertion.children().filter(|node| is(*node, SAML, "AttributeStatement"));
    for attribute in statements.flat_map(|statement| statement.children()).filter(|node| is(*node, SAML, "Attribute")) {
        let mut values = Vec::new();
        for value in attribute.children().filter(|node| is(*node, SAML, "AttributeValue")) {
            values.extend(attribute_value(value)?.filter(|text| !text.is_empty()));
        }
        all.entry(attribute.attribute("Name").unwrap_or_default().to_owned()).or_default().extend(values);
    }
    Ok(all)
}

/// Text, or the text of a NameID (`eduPersonTargetedID`); other XML is no value of ours.
fn attribute_value(value: Node<'_, '_>) -> Result<Option<String>, Refusal> {
    let mut elements = value.children().filter(Node::is_element);
    let (first, second) = (elements.next(), elements.next());
    let Some(first) = first else { return Ok(Some(text(value))) };
    let mixed = value.children().any(|node| node.text().is_some_and(|text| node.is_text() && !text.trim().is_empty()));
    if mixed {
        return Err(refusal("assertion_malformed", "an AttributeValue holds text and elements"));
    }
    if second.is_none() && is(first, SAML, "NameID") { plain(first).map(Some) } else { Ok(None) }
}

/// `saml:<short name>` for mapped attributes and `saml:attribute/<name>` for every one; AWS's own keys last, so that no
/// attribute can pass for them.
fn claims(
    mapped: &Mapped,
    attributes: &BTreeMap<String, Vec<String>>,
    issuer: &str,
    subject: &str,
    subject_type: Option<&str>,
    recipient: &str,
) -> BTreeMap<String, Vec<String>> {
    let mut claims = BTreeMap::new();
    for (name, values) in attributes {
        claims.insert(format!("{SAML_ATTRIBUTE}{name}"), values.clone());
    }
    for (short, values) in &mapped.attributes {
        claims.insert(format!("saml:{short}"), values.clone());
    }
    claims.insert("saml:iss".to_owned(), vec![issuer.to_owned()]);
    claims.insert("saml:aud".to_owned(), vec![recipient.to_owned()]);
    claims.insert("saml:sub".to_owned(), vec![subject.to_owned()]);
    if let Some(kind) = subject_type {
        claims.insert("saml:sub_type".to_owned(), vec![kind.to_owned()]);
    }
    claims
}

/// Tools write the pair in either order.
fn role_pair(text: &str) -> Option<(Arn, Arn)> {
    let (first, second) = text.split_once(',')?;
    let (first, second) = (Arn::parse(first.trim()).ok()?, Arn::parse(second.trim()).ok()?);
    if first.resource().starts_with("role/") { Some((first, second)) } else { Some((second, first)) }
}

fn child<'a, 'x>(parent: Node<'a, 'x>, name: &'static str) -> Result<Node<'a, 'x>, Refusal> {
    let mut found = parent.children().filter(|node| is(*node, SAML, name));
    match (found.next(), found.next()) {
        (Some(node), None) => Ok(node),
        (None, _) => Err(refusal("assertion_malformed", format!("{name} is missing"))),
        (Some(_), Some(_)) => Err(refusal("assertion_malformed", format!("{name} appears twice"))),
    }
}

/// The text of an element that holds nothing but text: an element in the middle of a name would be read in two ways.
fn plain(node: Node<'_, '_>) -> Result<String, Refusal> {
    if node.children().any(|child| child.is_element()) {
        let name = node.tag_name().name().to_owned();
        return Err(refusal("assertion_malformed", format!("{name} holds more than text")));
    }
    Ok(text(node))
}

fn time(node: Node<'_, '_>, attribute: &str) -> Result<Option<Timestamp>, Refusal> {
    let read = |text| Timestamp::parse(text).ok_or_else(|| refusal("assertion_malformed", format!("{attribute} is not a time")));
    node.attribute(attribute).map(read).transpose()
}

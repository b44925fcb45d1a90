//! Policies made ready for evaluation: what a [`Document`] does.

use super::{
    condition::Condition,
    decision::StatementTrace,
    document::{Document, DocumentKind, Element, Located},
    element::{Actions, Resources, resource_pattern},
    finding::{Finding, MalformedDocument},
    principal::{Form, PrincipalPattern, Principals},
    request::Request,
};
use std::collections::HashSet;

/// A compiled policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// In order.
    pub statements: Box<[Statement]>,
}

/// A compiled statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Position, from 1, as people count.
    pub number: usize,
    /// Its name, if it has one.
    pub sid: Option<Box<str>>,
    /// `Allow`, else `Deny`.
    pub allow: bool,
    /// Who; none where the policy is about whom it is attached to.
    pub principals: Option<Principals>,
    /// What.
    pub actions: Actions,
    /// On what; none in trust policies.
    pub resources: Option<Resources>,
    /// When.
    pub conditions: Box<[Condition]>,
}

impl Policy {
    /// Parses and compiles a document.
    ///
    /// # Errors
    /// [`MalformedDocument`]: the first error, with its place.
    pub fn parse(text: &str, kind: DocumentKind) -> Result<Self, MalformedDocument> {
        let document = Document::parse(text, kind)?;
        Self::compile(&document, kind).map_err(|findings| match findings.first() {
            Some(first) => MalformedDocument::new(text, first),
            None => MalformedDocument::new(text, &Finding::error("JSON_SYNTAX_ERROR", "", Default::default(), "")),
        })
    }

    /// Compiles a document that was read.
    ///
    /// # Errors
    /// Every value that means nothing, in the order of the document; at least one.
    pub fn compile(document: &Document, kind: DocumentKind) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let variables = document.variables();
        let mut statements = Vec::with_capacity(document.statements.len());
        let mut sids: HashSet<&str> = HashSet::new();
        for (index, statement) in document.statements.iter().enumerate() {
            let named = statement.value.sid.as_ref().filter(|sid| !sid.value.is_empty());
            if let Some(sid) = named.filter(|sid| !sids.insert(&sid.value)) {
                let message = format!("Two statements have the Sid `{}`.", sid.value);
                findings.push(Finding::error("UNIQUE_SIDS_REQUIRED", &sid.pointer, sid.span, message));
            }
            let compiled = Compiler { kind, variables, findings: &mut findings }.statement(index + 1, statement);
            statements.push(compiled);
        }
        if findings.is_empty() { Ok(Self { statements: statements.into_iter().flatten().collect() }) } else { Err(findings) }
    }
}

struct Compiler<'f> {
    kind: DocumentKind,
    variables: bool,
    findings: &'f mut Vec<Finding>,
}

impl Compiler<'_> {
    /// Notes what does not compile, and goes on.
    fn each<T, U>(&mut self, values: &[Located<T>], compile: impl Fn(&T) -> Result<U, super::pattern::Refused>) -> Vec<U> {
        let mut all = Vec::with_capacity(values.len());
        for located in values {
            match compile(&located.value) {
                Ok(compiled) => all.push(compiled),
                Err((code, message)) => self.findings.push(Finding::error(code, &located.pointer, located.span, message)),
            }
        }
        all
    }

    fn statement(&mut self, number: usize, located: &Located<super::document::Statement>) -> Option<Statement> {
        let written = &located.value;
        let (kind, variables) = (self.kind, self.variables);
        let principals = written.principal.as_ref().map(|Element { negated, values }| {
            let patterns = self.each(values, |value| PrincipalPattern::compile(value, kind));
            Principals { negated: *negated, patterns: patterns.into() }
        });
        let Element { negated, values } = &written.action;
        let actions = Actions::compile(*negated, values.iter().map(|value| value.value.as_str()));
        let actions = actions.map_err(|(index, (code, message))| {
            let place = values.get(index);
            let (at, span) = place.map_or((located.pointer.as_str(), located.span), |at| (at.pointer.as_str(), at.span));
            self.findings.push(Finding::error(code, at, span, message));
        });
        let resources = written.resource.as_ref().map(|Element { negated, values }| {
            let patterns = self.each(values, |value| resource_pattern(value, variables));
            Resources { negated: *negated, patterns: patterns.into() }
        });
        let mut conditions = Vec::with_capacity(written.conditions.len());
        for entry in &written.conditions {
            let values: Vec<&str> = entry.values.iter().map(|value| value.value.as_str()).collect();
            match Condition::compile(&entry.operator, &entry.key.value, &values, variables) {
                Ok(condition) => conditions.push(condition),
                Err((index, (code, message))) => {
                    let value = index.and_then(|index| entry.values.get(index));
                    let (at, span) = value.map_or((&entry.key.pointer, entry.key.span), |value| (&value.pointer, value.span));
                    self.findings.push(Finding::error(code, at, span, message));
                }
            }
        }
        Some(Statement {
            number,
            sid: written.sid.as_ref().filter(|sid| !sid.value.is_empty()).map(|sid| sid.value.as_str().into()),
            allow: written.allow,
            principals,
            actions: actions.ok()?,
            resources,
            conditions: conditions.into(),
        })
    }
}

impl Statement {
    /// Whether the statement applies, and by which form of principal. One without principals applies to whom it is
    /// attached to.
    #[must_use]
    pub fn applies(&self, request: &Request<'_>) -> Option<Form> {
        let form = self.form(request)?;
        let all = self.actions.cover(request)
            && self.resources.as_ref().is_none_or(|resources| resources.cover(request))
            && self.conditions.iter().all(|condition| condition.holds(request.context, !self.allow));
        all.then_some(form)
    }

    fn form(&self, request: &Request<'_>) -> Option<Form> {
        match &self.principals {
            None => Some(Form::Itself),
            Some(principals) => principals.cover(request.who, !self.allow, request.bounded),
        }
    }

    /// Lays the statement out for people.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> StatementTrace {
        let resources = self.resources.as_ref();
        let mut trace = StatementTrace {
            number: self.number,
            sid: self.sid.as_deref().map(str::to_owned),
            allow: self.allow,
            not_principal: self.principals.as_ref().is_some_and(|principals| principals.negated),
            principals: self.principals.iter().flat_map(|all| all.patterns.iter().map(PrincipalPattern::text)).collect(),
            principal_matched: self.form(request).is_some(),
            not_action: self.actions.negated,
            actions: self.actions.texts.iter().map(|text| text.to_string()).collect(),
            action_matched: self.actions.cover(request),
            not_resource: resources.is_some_and(|resources| resources.negated),
            resources: resources.iter().flat_map(|all| all.patterns.iter().map(|one| one.text().to_owned())).collect(),
            resource_matched: resources.is_none_or(|resources| resources.cover(request)),
            conditions: self.conditions.iter().map(|one| one.explain(request.context, !self.allow)).collect(),
            applies: self.applies(request).is_some(),
            nearly: false,
        };
        let conditions = trace.conditions.iter().filter(|condition| !condition.matched).count();
        let misses = [trace.principal_matched, trace.action_matched, trace.resource_matched];
        trace.nearly = misses.iter().filter(|matched| !**matched).count() + conditions == 1;
        trace
    }
}

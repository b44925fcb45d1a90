//! Compiled `Action` and `Resource` elements.

use super::{
    context::Context,
    pattern::{Pattern, Refused, Syntax, Token, tokens},
    request::Request,
};

const GLOBS: Syntax = Syntax { wildcards: true, variables: false };

/// A compiled `Action` or `NotAction`. Actions have no letter case; wildcards stand in the name only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actions {
    /// `NotAction`.
    pub negated: bool,
    /// As written.
    pub texts: Box<[Box<str>]>,
    /// Lower case, sorted.
    pub(super) exact: Box<[Box<str>]>,
    /// Lower case.
    pub(super) globs: Box<[Pattern]>,
}

impl Actions {
    /// Compiles it.
    ///
    /// # Errors
    /// The published check, the index of the value and a sentence.
    pub fn compile<'v>(negated: bool, values: impl Iterator<Item = &'v str>) -> Result<Self, (usize, Refused)> {
        let (mut texts, mut exact, mut globs): (Vec<Box<str>>, Vec<Box<str>>, Vec<Pattern>) = Default::default();
        for (index, text) in values.enumerate() {
            check_action(text).map_err(|refused| (index, refused))?;
            texts.push(text.into());
            match Pattern::compile(&text.to_lowercase(), GLOBS).map_err(|refused| (index, refused))? {
                Pattern::Exact(action) => exact.push(action),
                glob => globs.push(glob),
            }
        }
        exact.sort_unstable();
        Ok(Self { negated, texts: texts.into(), exact: exact.into(), globs: globs.into() })
    }

    /// Whether the element covers the action, `Not` regarded.
    #[must_use]
    pub fn cover(&self, request: &Request<'_>) -> bool {
        let action = request.folded_action();
        let listed = match &*self.exact {
            few if few.len() <= 4 => few.iter().any(|exact| exact.as_bytes() == action),
            many => many.binary_search_by(|exact| exact.as_bytes().cmp(action)).is_ok(),
        };
        (listed || self.globs.iter().any(|glob| glob.matches_bytes(action, request.context))) != self.negated
    }
}

/// Whether it is `*` or `service:Name`.
fn check_action(text: &str) -> Result<(), Refused> {
    if text == "*" {
        return Ok(());
    }
    let Some((service, name)) = text.split_once(':') else {
        return Err(("INVALID_ACTION", format!("`{text}`: an action looks like service:Name.")));
    };
    if service.is_empty() || !service.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        let message = format!("`{text}`: the service prefix has letters, digits and `-` only, no wildcard.");
        return Err(("INVALID_SERVICE_IN_ACTION", message));
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '*' | '?' | '-' | '_')) {
        return Err(("INVALID_ACTION", format!("`{text}`: the name of an action has letters, digits, `*` and `?` only.")));
    }
    Ok(())
}

/// A compiled `Resource` or `NotResource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// `NotResource`.
    pub negated: bool,
    /// In order.
    pub patterns: Box<[Pattern]>,
}

impl Resources {
    /// Whether the element covers the resource, `Not` regarded.
    #[must_use]
    pub fn cover(&self, request: &Request<'_>) -> bool {
        self.patterns.iter().any(|pattern| covers(pattern, request.resource, request.context)) != self.negated
    }
}

/// Compiles one resource. Wildcards match inside the fields of an ARN; a `*` that ends a field may run past the colons that
/// follow, and the sixth field keeps its colons (IAM user guide, "Resource"). Variables are read after the fifth colon only.
///
/// # Errors
/// When it is neither `*` nor begins with `arn:`, and when the service has a wildcard.
pub fn resource_pattern(text: &str, variables: bool) -> Result<Pattern, Refused> {
    if text == "*" {
        return Ok(Pattern::Any);
    }
    if !text.starts_with("arn:") {
        let message = format!("`{text}`: a resource is `*` or an ARN, as in arn:aws:iam::111122223333:role/Name.");
        return Err(("INVALID_ARN_PREFIX", message));
    }
    if text.split(':').nth(2).is_some_and(|service| service.contains(['*', '?'])) {
        return Err(("INVALID_ARN_RESOURCE", format!("`{text}`: the service field of an ARN can't hold a wildcard.")));
    }
    arn_pattern(text, variables)
}

/// Compiles the value of an `Arn…` operator: six fields, each matched by itself, the last keeping further colons
/// (IAM user guide, "ARN condition operators").
///
/// # Errors
/// When it has no six fields.
pub fn arn_condition(text: &str, variables: bool) -> Result<Pattern, Refused> {
    if text == "*" {
        return Ok(Pattern::Any);
    }
    let mut all = tokens(text, Syntax { wildcards: true, variables })?;
    // Variables may stand in any field, and bring no colons that would count.
    let mut colons = 0;
    for token in &mut all {
        match token {
            Token::Literal(literal) => colons += literal.bytes().filter(|byte| *byte == b':').count(),
            Token::Star { colons: over } | Token::One { colons: over } => *over = colons >= 5,
            Token::Variable { .. } => {}
        }
    }
    if colons < 5 || !text.starts_with("arn:") {
        let message = format!("`{text}` is not an ARN with six fields, as in arn:aws:iam::111122223333:role/*.");
        return Err(("MISSING_ARN_FIELD", message));
    }
    Pattern::of_tokens(text, all, false)
}

/// Whether a text has the form of an ARN.
#[must_use]
pub fn is_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.bytes().filter(|byte| *byte == b':').count() >= 5
}

fn arn_pattern(text: &str, variables: bool) -> Result<Pattern, Refused> {
    let mut all: Vec<Token> = Vec::new();
    // Stars that stop at colons after stars that do not.
    let (mut runs, mut mixed) = (false, false);
    for (index, field) in text.splitn(6, ':').enumerate() {
        if index > 0 {
            push(&mut all, Token::Literal(":".into()));
        }
        let last = index == 5;
        let mut field = tokens(field, Syntax { wildcards: true, variables: variables && last })?;
        if !last {
            let count = field.len();
            for (place, token) in field.iter_mut().enumerate() {
                match token {
                    Token::Star { colons } => {
                        *colons = place + 1 == count;
                        mixed |= runs && !*colons;
                        runs |= *colons;
                    }
                    Token::One { colons } => *colons = false,
                    Token::Literal(_) | Token::Variable { .. } => {}
                }
            }
        }
        for token in field {
            push(&mut all, token);
        }
    }
    Pattern::of_tokens(text, all, mixed)
}

/// Adds a token, joining texts that meet.
fn push(all: &mut Vec<Token>, token: Token) {
    match (all.last_mut(), &token) {
        (Some(Token::Literal(before)), Token::Literal(text)) => *before = format!("{before}{text}").into(),
        _ => all.push(token),
    }
}

/// Whether a resource pattern covers a resource. Actions without a resource are covered by a literal `*` only.
#[must_use]
pub fn covers(pattern: &Pattern, resource: &str, context: &Context) -> bool {
    matches!(pattern, Pattern::Any) || (resource != "*" && pattern.matches(resource, context))
}

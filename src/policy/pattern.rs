//! Texts to match: exact, with wildcards, with policy variables (IAM user guide, "Wildcards" and "Policy variables").

use super::context::{Context, Key};

/// Most wildcards and variables in one pattern.
pub const MAX_TOKENS: usize = 512;

/// Which characters of a policy's text mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// `*` and `?`.
    pub wildcards: bool,
    /// `${…}`: documents of 2012-10-17 only.
    pub variables: bool,
}

/// Why a text is no pattern: the published check and a sentence.
pub type Refused = (&'static str, String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Literal(Box<str>),
    /// `*`; in the first fields of an ARN it stops before a colon.
    Star {
        colons: bool,
    },
    /// `?`; in the first fields of an ARN it is no colon.
    One {
        colons: bool,
    },
    /// `${key}` or `${key, 'default'}`. It expands to plain text, never to wildcards.
    Variable {
        key: Key,
        default: Option<Box<str>>,
    },
}

/// A compiled text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: everything.
    Any,
    /// Nothing special in it.
    Exact(Box<str>),
    /// One `*` at the end, kept here.
    Prefix(Box<str>),
    /// Everything else.
    Glob(Box<Glob>),
}

/// A text with wildcards inside, or variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    tokens: Box<[Token]>,
    /// Stars that stop at a colon stand beside stars that do not: the quick walk could miss a match.
    mixed: bool,
}

impl Pattern {
    /// Compiles a text.
    ///
    /// # Errors
    /// When a variable is not closed, is empty, or has a bad default, and when there are too many wildcards.
    pub fn compile(text: &str, syntax: Syntax) -> Result<Self, Refused> {
        Self::of_tokens(text, tokens(text, syntax)?, false)
    }

    pub(super) fn of_tokens(text: &str, tokens: Vec<Token>, mixed: bool) -> Result<Self, Refused> {
        if tokens.len() > MAX_TOKENS {
            return Err(("LIMIT_EXCEEDED", format!("One value can hold at most {MAX_TOKENS} wildcards, variables and texts.")));
        }
        Ok(match tokens.as_slice() {
            [] => Self::Exact("".into()),
            [Token::Literal(literal)] => {
                if **literal == *text {
                    Self::Exact(text.into())
                } else {
                    // `${*}`: the text differs from what it means.
                    Self::Glob(Box::new(Glob { text: text.into(), tokens: tokens.into(), mixed }))
                }
            }
            [Token::Star { colons: true }] => Self::Any,
            [Token::Literal(literal), Token::Star { colons: true }] if text.len() == literal.len() + 1 => {
                Self::Prefix(text.into())
            }
            _ => Self::Glob(Box::new(Glob { text: text.into(), tokens: tokens.into(), mixed })),
        })
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Exact(text) | Self::Prefix(text) => text,
            Self::Glob(glob) => &glob.text,
        }
    }

    /// The text before the first wildcard or variable.
    pub(super) fn literal_start(&self) -> &str {
        match self {
            Self::Any => "",
            Self::Exact(text) => text,
            Self::Prefix(text) => text.strip_suffix('*').unwrap_or(text),
            Self::Glob(glob) => match glob.tokens.first() {
                Some(Token::Literal(literal)) => literal,
                _ => "",
            },
        }
    }

    /// Whether the whole value matches. A variable that has no value and no default matches nothing.
    #[must_use]
    pub fn matches(&self, value: &str, context: &Context) -> bool {
        self.matches_bytes(value.as_bytes(), context)
    }

    /// The same on the bytes of a text.
    #[inline]
    pub(super) fn matches_bytes(&self, value: &[u8], context: &Context) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => text.as_bytes() == value,
            Self::Prefix(text) => text.as_bytes().split_last().is_some_and(|(_, start)| value.starts_with(start)),
            Self::Glob(glob) if glob.mixed => glob.walk_all(value, context),
            Self::Glob(glob) => glob.walk(value, context),
        }
    }

    /// Whether the whole value is the same text but for letter case; variables expand, wildcards do not exist here.
    #[must_use]
    pub fn same_letters(&self, value: &str, context: &Context) -> bool {
        match self {
            Self::Any | Self::Prefix(_) => folded_equal(self.text(), value),
            Self::Exact(text) => folded_equal(text, value),
            Self::Glob(glob) => {
                let expanded: Option<Vec<&str>> = glob.tokens.iter().map(|token| token.text(context)).collect();
                let letters = |text: &'_ str| text.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
                expanded.is_some_and(|parts| parts.iter().flat_map(|part| letters(part)).eq(letters(value)))
            }
        }
    }

    /// Whether every variable in it has a value.
    pub(super) fn resolves(&self, context: &Context) -> bool {
        let open = |token: &Token| matches!(token, Token::Variable { .. }) && token.text(context).is_none();
        !matches!(self, Self::Glob(glob) if glob.tokens.iter().any(open))
    }

    /// Whether a variable is in it.
    pub(super) fn has_variables(&self) -> bool {
        matches!(self, Self::Glob(glob) if glob.tokens.iter().any(|token| matches!(token, Token::Variable { .. })))
    }
}

fn folded_equal(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
        || (!(a.is_ascii() && b.is_ascii()) && a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase)))
}

impl Token {
    fn text<'t>(&'t self, context: &'t Context) -> Option<&'t str> {
        match self {
            Self::Literal(literal) => Some(literal),
            Self::Variable { key, default } => context.only(key).or(default.as_deref()),
            Self::Star { .. } | Self::One { .. } => None,
        }
    }
}

impl Glob {
    /// Goes back to the last `*` only: at most pattern × value steps, whatever the pattern.
    fn walk(&self, bytes: &[u8], context: &Context) -> bool {
        let (mut token, mut at) = (0, 0);
        let mut last_star: Option<(usize, usize, bool)> = None;
        loop {
            let stepped = match self.tokens.get(token) {
                None => at == bytes.len(),
                Some(Token::Star { colons }) => {
                    last_star = Some((token + 1, at, *colons));
                    token += 1;
                    continue;
                }
                Some(Token::One { colons }) => {
                    let step = letter(bytes, at, *colons);
                    at += step;
                    step > 0
                }
                Some(token) => {
                    let Some(text) = token.text(context) else { return false };
                    let found = bytes.get(at..).is_some_and(|rest| rest.starts_with(text.as_bytes()));
                    at += text.len();
                    found
                }
            };
            if stepped {
                if token == self.tokens.len() {
                    return true;
                }
                token += 1;
                continue;
            }
            let Some((after, from, colons)) = last_star else { return false };
            let step = letter(bytes, from, colons);
            if step == 0 {
                return false;
            }
            last_star = Some((after, from + step, colons));
            (token, at) = (after, from + step);
        }
    }

    /// Follows all places at once; for the rare mixture of stars that the quick walk can't do.
    fn walk_all(&self, bytes: &[u8], context: &Context) -> bool {
        let mut places = vec![false; bytes.len() + 1];
        let mut next = places.clone();
        if let Some(first) = places.first_mut() {
            *first = true;
        }
        for token in &self.tokens {
            next.fill(false);
            let mut reached = |at: usize| {
                if let Some(place) = next.get_mut(at) {
                    *place = true;
                }
            };
            match token {
                Token::Star { colons } => {
                    let mut flowing = false;
                    for (at, place) in places.iter().enumerate() {
                        flowing |= *place;
                        if flowing {
                            reached(at);
                            flowing = *colons || bytes.get(at) != Some(&b':');
                        }
                    }
                }
                Token::One { colons } => {
                    for (at, _) in places.iter().enumerate().filter(|(_, place)| **place) {
                        let step = letter(bytes, at, *colons);
                        if step > 0 {
                            reached(at + step);
                        }
                    }
                }
                text => {
                    let Some(text) = text.text(context) else { return false };
                    for (at, _) in places.iter().enumerate().filter(|(_, place)| **place) {
                        if bytes.get(at..).is_some_and(|rest| rest.starts_with(text.as_bytes())) {
                            reached(at + text.len());
                        }
                    }
                }
            }
            std::mem::swap(&mut places, &mut next);
        }
        places.last().copied().unwrap_or_default()
    }
}

/// The length in bytes of the character at `at`; zero at the end, and before a colon that may not be taken.
fn letter(bytes: &[u8], at: usize, colons: bool) -> usize {
    match bytes.get(at) {
        None => 0,
        Some(b':') if !colons => 0,
        Some(first) if first.is_ascii() => 1,
        Some(_) => 1 + bytes.get(at + 1..).unwrap_or_default().iter().take_while(|byte| **byte & 0xC0 == 0x80).count(),
    }
}

pub(super) fn tokens(text: &str, syntax: Syntax) -> Result<Vec<Token>, Refused> {
    let mut tokens = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    let flush = |literal: &mut String, tokens: &mut Vec<Token>| {
        if !literal.is_empty() {
            tokens.push(Token::Literal(std::mem::take(literal).into()));
        }
    };
    while let Some(letter) = rest.chars().next() {
        if syntax.variables
            && let Some(after) = rest.strip_prefix("${")
        {
            let (inside, tail) = close(text, after)?;
            match inside {
                "*" | "?" | "$" => literal.push_str(inside),
                _ => {
                    flush(&mut literal, &mut tokens);
                    tokens.push(variable(text, inside)?);
                }
            }
            rest = tail;
            continue;
        }
        match letter {
            '*' if syntax.wildcards => {
                flush(&mut literal, &mut tokens);
                if !matches!(tokens.last(), Some(Token::Star { .. })) {
                    tokens.push(Token::Star { colons: true });
                }
            }
            '?' if syntax.wildcards => {
                flush(&mut literal, &mut tokens);
                tokens.push(Token::One { colons: true });
            }
            other => literal.push(other),
        }
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
    }
    flush(&mut literal, &mut tokens);
    Ok(tokens)
}

/// Splits at the `}` that ends the variable: one inside the quotes of a default does not.
fn close<'t>(text: &str, after: &'t str) -> Result<(&'t str, &'t str), Refused> {
    let mut quoted = false;
    for (at, letter) in after.char_indices() {
        match letter {
            '\'' => quoted = !quoted,
            '}' if !quoted => return Ok((after.get(..at).unwrap_or_default(), after.get(at + 1..).unwrap_or_default())),
            _ => {}
        }
    }
    let (code, mark) = if quoted { ("MISSING_QUOTE_IN_VARIABLE", "its quote `'`") } else { ("MISSING_BRACE_IN_VARIABLE", "`}`") };
    Err((code, format!("`{text}`: a policy variable is not closed with {mark}.")))
}

fn variable(text: &str, inside: &str) -> Result<Token, Refused> {
    let (key, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((key, default)) => {
            let quoted = default.trim().strip_prefix('\'').and_then(|default| default.strip_suffix('\''));
            let Some(default) = quoted.filter(|default| !default.contains('\'')) else {
                let message = format!("`{text}`: the default of a variable stands in single quotes.");
                return Err(("MISSING_QUOTE_IN_VARIABLE", message));
            };
            (key.trim_end(), Some(default.into()))
        }
    };
    if key.is_empty() {
        return Err(("EMPTY_VARIABLE", format!("`{text}`: a variable names a condition key, as in ${{aws:username}}.")));
    }
    // Tag keys may hold spaces inside, but none at the ends.
    if key.trim() != key || key.chars().any(char::is_control) {
        return Err(("UNSUPPORTED_SPACE_IN_VARIABLE", format!("`{text}`: there can't be a space at the ends of a variable.")));
    }
    Ok(Token::Variable { key: Key::new(key), default })
}

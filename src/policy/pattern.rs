//! Globs with policy variables (IAM user guide, "Wildcards" and "Policy variables").

use super::condition::Context;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Letter(char),
    /// `*`
    AnyRun,
    /// `?`
    AnyOne,
    /// `${key}` or `${key, 'default'}`; expands to literal text, never to wildcards.
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

impl Pattern {
    /// Compiles a pattern. With `variables`, `${…}` is a policy variable (documents of 2012-10-17); `wildcards` decides
    /// whether `*` and `?` mean anything.
    ///
    /// # Errors
    /// A sentence, when a variable is not closed or empty.
    pub fn compile(text: &str, wildcards: bool, variables: bool) -> Result<Self, String> {
        let mut parts = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            if variables && let Some(after) = rest.strip_prefix("${") {
                let (inside, tail) =
                    after.split_once('}').ok_or_else(|| format!("`{text}`: the variable is not closed with `}}`"))?;
                parts.push(match inside {
                    "*" => Part::Letter('*'),
                    "?" => Part::Letter('?'),
                    "$" => Part::Letter('$'),
                    _ => {
                        let (key, default) = match inside.split_once(',') {
                            Some((key, default)) => {
                                let default = default.trim();
                                let quoted = default.strip_prefix('\'').and_then(|d| d.strip_suffix('\''));
                                (
                                    key,
                                    Some(
                                        quoted
                                            .ok_or_else(|| format!("`{text}`: the default value needs single quotes"))?
                                            .to_owned(),
                                    ),
                                )
                            }
                            None => (inside, None),
                        };
                        let key = key.trim();
                        if key.is_empty() || key.contains(char::is_whitespace) {
                            return Err(format!("`{text}`: a variable needs a condition key, as in ${{aws:username}}"));
                        }
                        Part::Variable { key: key.to_lowercase(), default }
                    }
                });
                rest = tail;
                continue;
            }
            parts.push(match letter {
                '*' if wildcards => Part::AnyRun,
                '?' if wildcards => Part::AnyOne,
                other => Part::Letter(other),
            });
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole value matches. A variable without a value and default matches nothing.
    #[must_use]
    pub fn matches(&self, value: &str, fold: bool, context: &Context) -> bool {
        let has_variables = self.parts.iter().any(|part| matches!(part, Part::Variable { .. }));
        if !has_variables {
            return glob(&self.parts, value, fold);
        }
        let mut expanded = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Part::Variable { key, default } => {
                    let Some(value) = context.single(key).or(default.as_deref()) else { return false };
                    expanded.extend(value.chars().map(Part::Letter));
                }
                other => expanded.push(other.clone()),
            }
        }
        glob(&expanded, value, fold)
    }
}

/// Backtracks to the last `*` only: at most pattern × value steps, whatever the pattern.
fn glob(parts: &[Part], value: &str, fold: bool) -> bool {
    let value: Vec<char> = value.chars().collect();
    let (mut p, mut v) = (0, 0);
    let mut restart: Option<(usize, usize)> = None;
    while let Some(letter) = value.get(v) {
        let step = match parts.get(p) {
            Some(Part::AnyRun) => {
                restart = Some((p + 1, v));
                p += 1;
                continue;
            }
            Some(Part::AnyOne) => true,
            Some(Part::Letter(wanted)) => same(*wanted, *letter, fold),
            Some(Part::Variable { .. }) | None => false,
        };
        if step {
            p += 1;
            v += 1;
        } else if let Some((after_star, taken)) = restart {
            p = after_star;
            v = taken + 1;
            restart = Some((after_star, taken + 1));
        } else {
            return false;
        }
    }
    parts.get(p..).is_some_and(|rest| rest.iter().all(|part| *part == Part::AnyRun))
}

fn same(a: char, b: char, fold: bool) -> bool {
    a == b || (fold && a.to_lowercase().eq(b.to_lowercase()))
}

/// An action pattern: `service:Name` with wildcards in the name, or `*`. Compared without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionPattern(Pattern);

impl ActionPattern {
    /// Compiles it.
    ///
    /// # Errors
    /// A sentence, when the service prefix is missing or has a wildcard.
    pub fn compile(text: &str) -> Result<Self, String> {
        if text != "*" {
            let (service, name) = text.split_once(':').ok_or_else(|| format!("`{text}`: an action looks like service:Name"))?;
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if service.is_empty() || !service.chars().all(plain) {
                return Err(format!("`{text}`: the service prefix has letters, digits and `-` only, no wildcard"));
            }
            if name.is_empty() {
                return Err(format!("`{text}`: the action has no name"));
            }
        }
        Pattern::compile(text, true, false).map(Self)
    }
    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }
    /// Whether it covers the action.
    #[must_use]
    pub fn matches(&self, action: &str) -> bool {
        glob(&self.0.parts, action, true)
    }
}

/// An ARN pattern, compared field by field: a `*` does not reach over a colon unless it ends the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArnPattern {
    text: String,
    /// `None` for the lone `*`.
    fields: Option<Vec<Pattern>>,
}

impl ArnPattern {
    /// Compiles it. Variables are read after the fifth colon only.
    ///
    /// # Errors
    /// A sentence, when it is neither `*` nor begins with `arn:`.
    pub fn compile(text: &str, variables: bool) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self { text: text.to_owned(), fields: None });
        }
        if !text.starts_with("arn:") {
            return Err(format!("`{text}`: a resource is `*` or an ARN, as in arn:aws:iam::111122223333:role/Name"));
        }
        let mut fields = Vec::with_capacity(6);
        for (index, field) in text.splitn(6, ':').enumerate() {
            if index == 2 && field.contains(['*', '?']) {
                return Err(format!("`{text}`: the service field of an ARN can't hold a wildcard"));
            }
            fields.push(Pattern::compile(field, true, variables && index == 5)?);
        }
        Ok(Self { text: text.to_owned(), fields: Some(fields) })
    }
    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
    /// Whether it covers the resource.
    #[must_use]
    pub fn matches(&self, resource: &str, context: &Context) -> bool {
        let Some(fields) = &self.fields else { return true };
        if resource == "*" {
            return false;
        }
        let open_end = fields.len() < 6 && self.text.ends_with('*');
        if fields.len() < 6 && !open_end {
            return false;
        }
        let mut values = resource.splitn(fields.len(), ':');
        fields.iter().all(|field| values.next().is_some_and(|value| field.matches(value, false, context)))
    }
}

//! One question: who wants to do what, on what, under which circumstances.

use super::{
    context::{Context, hash},
    principal::Identity,
};

/// One question to the engine, made ready: what is compared many times is folded and cut once.
#[derive(Debug)]
pub struct Request<'a> {
    /// Who is asking.
    pub who: &'a Identity,
    /// For example `iam:GetRole`.
    pub action: &'a str,
    /// An ARN, or `*` for actions that have no resource.
    pub resource: &'a str,
    /// Everything else.
    pub context: &'a Context,
    /// The caller has a permissions boundary: a `Deny` with `NotPrincipal` then always applies.
    pub bounded: bool,
    folded: Folded,
    action_hash: u64,
    cuts: Cuts,
}

impl<'a> Request<'a> {
    /// Asks.
    #[must_use]
    pub fn new(who: &'a Identity, action: &'a str, resource: &'a str, context: &'a Context) -> Self {
        let folded = Folded::new(action);
        let action_hash = hash(folded.bytes());
        Self { who, action, resource, context, bounded: false, folded, action_hash, cuts: Cuts::new(resource) }
    }

    /// The action in lower case.
    pub(super) fn folded_action(&self) -> &[u8] {
        self.folded.bytes()
    }

    /// The hash of that.
    pub(super) const fn action_hash(&self) -> u64 {
        self.action_hash
    }

    /// The resource up to and including its `depth`-th delimiter, or all of it for the last depth.
    pub(super) fn resource_prefix(&self, depth: usize) -> Option<&'a str> {
        let end = *self.cuts.ends.get(..self.cuts.count)?.get(depth)?;
        self.resource.get(..usize::from(end))
    }
}

/// An action in lower case, without a place on the heap when it has a usual length.
#[derive(Debug)]
enum Folded {
    Short([u8; 64], u8),
    Long(Box<str>),
}

impl Folded {
    fn new(action: &str) -> Self {
        let mut short = [0; 64];
        match (short.get_mut(..action.len()), action.is_ascii(), u8::try_from(action.len())) {
            (Some(place), true, Ok(length)) => {
                place.copy_from_slice(action.as_bytes());
                place.make_ascii_lowercase();
                Self::Short(short, length)
            }
            _ => Self::Long(action.to_lowercase().into()),
        }
    }
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes, length) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }
}

/// Deepest delimiter the index looks at.
pub(super) const MAX_DEPTH: usize = 12;

/// Where the resource can be cut: after each `:` and `/`.
#[derive(Debug)]
struct Cuts {
    ends: [u16; MAX_DEPTH],
    count: usize,
}

impl Cuts {
    fn new(resource: &str) -> Self {
        let mut cuts = Self { ends: [0; MAX_DEPTH], count: 0 };
        for (at, byte) in resource.bytes().enumerate() {
            if matches!(byte, b':' | b'/') {
                let (Some(end), Ok(at)) = (cuts.ends.get_mut(cuts.count), u16::try_from(at + 1)) else { break };
                *end = at;
                cuts.count += 1;
            }
        }
        cuts
    }
}

/// How deep a literal beginning reaches, and the part of it that ends in a delimiter.
pub(super) fn deepest_cut(literal: &str) -> Option<(usize, &str)> {
    let cuts = Cuts::new(literal);
    let depth = cuts.count.checked_sub(1)?;
    let end = *cuts.ends.get(depth)?;
    Some((depth, literal.get(..usize::from(end))?))
}

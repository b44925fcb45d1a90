//! Many policies that speak with one voice (all identity policies of a role, one level of guardrails), indexed.
//!
//! A statement is put under the dimension that tells it best from the others: the beginning of its actions, the beginning of
//! its resources, or a value it requires under a condition key. A question looks under its own action, its own resource and
//! its own values, so what can't match is never looked at, however many policies there are. The index only chooses; what it
//! finds is compared in full.

use super::{
    condition::Condition,
    context::{Key, hash},
    pattern::Pattern,
    policy::{Policy, Statement},
    principal::Form,
    request::{MAX_DEPTH, Request, deepest_cut},
};
use hashbrown::{HashMap, HashTable};
use std::sync::Arc;

/// Fewer statements than this are faster walked through.
const LEAST_INDEXED: usize = 8;
/// A statement with more keys than this in a dimension is not put there.
const MOST_KEYS: usize = 256;
/// How much of a wildcard action's name is looked up.
const NAME_LENGTHS: [usize; 4] = [0, 3, 8, 14];
/// The depth under which resources without a wildcard are put.
const WHOLE: usize = MAX_DEPTH;

/// One policy with the words people know it by.
#[derive(Clone, Debug)]
pub struct Named {
    /// For example "inline policy deploy".
    pub label: Arc<str>,
    /// What it does.
    pub policy: Arc<Policy>,
}

/// Policies of one layer.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Box<[Named]>,
    /// Policy and statement, by number of the statement in the set.
    places: Box<[(u32, u32)]>,
    index: Option<Box<Index>>,
}

/// What a layer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The statement that denies.
    pub denied: Option<Place>,
    /// The statement that allows by the strongest form of principal, and that form.
    pub allowed: Option<(Form, Place)>,
}

/// A statement of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the policy in [`PolicySet::policies`].
    pub policy: u32,
    /// Index of the statement in the policy.
    pub statement: u32,
}

impl PolicySet {
    /// Builds the set and its index.
    #[must_use]
    pub fn new(policies: Vec<Named>) -> Self {
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let mut places = Vec::new();
        for (policy, named) in policies.iter().enumerate() {
            places.extend((0..named.policy.statements.len()).map(|statement| (number(policy), number(statement))));
        }
        let mut set = Self { policies: policies.into(), places: places.into(), index: None };
        if set.places.len() >= LEAST_INDEXED {
            let statements = set.places.iter().filter_map(|(policy, statement)| set.statement(*policy, *statement));
            set.index = Some(Box::new(Index::build(&statements.collect::<Vec<_>>())));
        }
        set
    }

    /// A set of one policy.
    #[must_use]
    pub fn of(label: &str, policy: Arc<Policy>) -> Self {
        Self::new(vec![Named { label: label.into(), policy }])
    }

    /// The policies.
    #[must_use]
    pub const fn policies(&self) -> &[Named] {
        &self.policies
    }

    fn statement(&self, policy: u32, statement: u32) -> Option<&Statement> {
        self.policies.get(policy as usize)?.policy.statements.get(statement as usize)
    }

    /// The statement at a place, and the words its policy is known by.
    #[must_use]
    pub fn at(&self, place: Place) -> Option<(&str, &Statement)> {
        let named = self.policies.get(place.policy as usize)?;
        Some((&named.label, named.policy.statements.get(place.statement as usize)?))
    }

    /// What the set says to a question: a `Deny` that applies ends the search.
    #[must_use]
    pub fn ask(&self, request: &Request<'_>) -> Said {
        let mut said = Said::default();
        let mut look = |number: usize| -> bool {
            let Some((policy, statement)) = self.places.get(number).copied() else { return false };
            let Some(found) = self.statement(policy, statement) else { return false };
            // One allow is enough, except where another form of principal could allow more.
            if found.allow && said.allowed.is_some_and(|(form, _)| form == Form::Itself) {
                return false;
            }
            let Some(form) = found.applies(request) else { return false };
            let place = Place { policy, statement };
            if found.allow {
                if said.allowed.is_none_or(|(so_far, _)| form < so_far) {
                    said.allowed = Some((form, place));
                }
                return false;
            }
            said.denied = Some(place);
            true
        };
        match &self.index {
            None => drop((0..self.places.len()).any(look)),
            Some(index) => drop(index.candidates(request, &mut look)),
        }
        said
    }
}

/// Lists of statements by hash.
#[derive(Clone, Debug, Default)]
pub(super) struct Postings {
    table: HashTable<(u64, u32, u32)>,
    numbers: Box<[u32]>,
}

impl Postings {
    pub(super) fn build(lists: HashMap<u64, Vec<u32>>) -> Self {
        let mut table = HashTable::with_capacity(lists.len());
        let mut numbers = Vec::new();
        for (hash, list) in lists {
            let start = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            numbers.extend_from_slice(&list);
            let end = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            table.insert_unique(hash, (hash, start, end), |entry| entry.0);
        }
        Self { table, numbers: numbers.into() }
    }

    pub(super) fn list(&self, hash: u64) -> &[u32] {
        let found = self.table.find(hash, |entry| entry.0 == hash);
        found.and_then(|(_, start, end)| self.numbers.get(*start as usize..*end as usize)).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default)]
struct Index {
    exact_actions: Postings,
    action_starts: Postings,
    /// Which of [`NAME_LENGTHS`] are in use.
    name_lengths: [bool; NAME_LENGTHS.len()],
    resources: Postings,
    /// Which depths are in use; the last stands for whole resources.
    depths: [bool; MAX_DEPTH + 1],
    values: Postings,
    /// The condition keys in use.
    keys: Box<[Key]>,
    /// Statements that nothing tells apart.
    rest: Box<[u32]>,
}

/// Where a statement can be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Slot {
    Action(u64),
    ActionStart(usize, u64),
    Resource(usize, u64),
    Value(u64),
}

impl Index {
    fn build(statements: &[&Statement]) -> Self {
        let offers: Vec<[Vec<Slot>; 3]> = statements
            .iter()
            .map(|statement| [action_slots(statement), resource_slots(statement), value_slots(statement)])
            .collect();
        let mut crowd: HashMap<Slot, usize> = HashMap::new();
        for slot in offers.iter().flatten().flatten() {
            *crowd.entry(*slot).or_default() += 1;
        }
        let mut index = Self::default();
        let (mut exact, mut starts, mut resources, mut values) = (
            HashMap::<u64, Vec<u32>>::new(),
            HashMap::<u64, Vec<u32>>::new(),
            HashMap::<u64, Vec<u32>>::new(),
            HashMap::<u64, Vec<u32>>::new(),
        );
        let (mut rest, mut keys) = (Vec::new(), Vec::<Key>::new());
        for (number, (statement, offer)) in (0u32..).zip(statements.iter().zip(&offers)) {
            let crowded = |slots: &[Slot]| slots.iter().filter_map(|slot| crowd.get(slot)).max().copied().unwrap_or(usize::MAX);
            // Values cost a look-up per key of the request: they must be worth it.
            let [actions, by_resource, by_value] = offer;
            let costs = [crowded(actions), crowded(by_resource), crowded(by_value).saturating_mul(4)];
            let best = costs.iter().zip([actions, by_resource, by_value]).min_by_key(|(cost, _)| **cost);
            let Some((_, slots)) = best.filter(|(cost, _)| **cost < usize::MAX) else {
                rest.push(number);
                continue;
            };
            for slot in slots {
                let (lists, hash) = match slot {
                    Slot::Action(hash) => (&mut exact, hash),
                    Slot::ActionStart(length, hash) => {
                        if let Some(used) = index.name_lengths.get_mut(*length) {
                            *used = true;
                        }
                        (&mut starts, hash)
                    }
                    Slot::Resource(depth, hash) => {
                        if let Some(used) = index.depths.get_mut(*depth) {
                            *used = true;
                        }
                        (&mut resources, hash)
                    }
                    Slot::Value(hash) => (&mut values, hash),
                };
                let list = lists.entry(*hash).or_default();
                if list.last() != Some(&number) {
                    list.push(number);
                }
            }
            if slots.iter().any(|slot| matches!(slot, Slot::Value(_)))
                && let Some((key, _)) = statement.conditions.iter().find_map(narrowest(statement))
                && !keys.contains(key)
            {
                keys.push(key.clone());
            }
        }
        index.exact_actions = Postings::build(exact);
        index.action_starts = Postings::build(starts);
        index.resources = Postings::build(resources);
        index.values = Postings::build(values);
        index.keys = keys.into();
        index.rest = rest.into();
        index
    }

    /// Shows every statement that could match until `look` has seen enough.
    fn candidates(&self, request: &Request<'_>, look: &mut impl FnMut(usize) -> bool) -> bool {
        let mut all = |list: &[u32]| list.iter().any(|number| look(*number as usize));
        let action = request.folded_action();
        if all(&self.rest) || all(self.exact_actions.list(request.action_hash())) {
            return true;
        }
        if let Some(colon) = action.iter().position(|byte| *byte == b':') {
            for (length, _) in NAME_LENGTHS.iter().zip(self.name_lengths).filter(|(_, used)| *used) {
                let Some(start) = action.get(..=colon + length) else { break };
                if all(self.action_starts.list(hash(start))) {
                    return true;
                }
            }
        }
        for (depth, _) in self.depths.iter().enumerate().filter(|(_, used)| **used) {
            let prefix = if depth == WHOLE { Some(request.resource) } else { request.resource_prefix(depth) };
            let Some(prefix) = prefix else { continue };
            if all(self.resources.list(hash(prefix.as_bytes()))) {
                return true;
            }
        }
        if self.keys.len() <= request.context.len() {
            let values = |key| request.context.of(key).unwrap_or_default();
            self.keys.iter().any(|key| values(key).iter().any(|value| all(self.values.list(value_hash(key.hash(), value)))))
        } else {
            request.context.hashed().any(|(key, values)| values.iter().any(|value| all(self.values.list(value_hash(key, value)))))
        }
    }
}

pub(super) fn value_hash(key: u64, value: &str) -> u64 {
    hash(value.as_bytes()) ^ key.rotate_left(17)
}

fn action_slots(statement: &Statement) -> Vec<Slot> {
    let actions = &statement.actions;
    if actions.negated || actions.exact.len() + actions.globs.len() > MOST_KEYS {
        return Vec::new();
    }
    let mut slots: Vec<Slot> = actions.exact.iter().map(|action| Slot::Action(hash(action.as_bytes()))).collect();
    for glob in &actions.globs {
        let literal = glob.literal_start();
        let Some(colon) = literal.find(':') else { return Vec::new() };
        let fits = |length: &usize| literal.len() > colon + length;
        let Some(place) = NAME_LENGTHS.iter().rposition(fits) else { return Vec::new() };
        let length = NAME_LENGTHS.get(place).copied().unwrap_or_default();
        slots.push(Slot::ActionStart(place, hash(literal.as_bytes().get(..=colon + length).unwrap_or_default())));
    }
    slots
}

fn resource_slots(statement: &Statement) -> Vec<Slot> {
    let Some(resources) = statement.resources.as_ref().filter(|resources| !resources.negated) else { return Vec::new() };
    if resources.patterns.len() > MOST_KEYS {
        return Vec::new();
    }
    let slot = |pattern: &Pattern| {
        if let Pattern::Exact(text) = pattern {
            return Some(Slot::Resource(WHOLE, hash(text.as_bytes())));
        }
        let (depth, prefix) = deepest_cut(pattern.literal_start())?;
        Some(Slot::Resource(depth, hash(prefix.as_bytes())))
    };
    resources.patterns.iter().map(slot).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// The condition of a statement that a request can meet in the fewest ways.
fn narrowest(statement: &Statement) -> impl Fn(&Condition) -> Option<(&Key, usize)> + use<'_> {
    let fewest =
        statement.conditions.iter().filter_map(|one| one.required(!statement.allow).map(|(_, values)| values.count())).min();
    move |condition| {
        let (key, values) = condition.required(!statement.allow)?;
        let count = values.count();
        (Some(count) == fewest).then_some((key, count))
    }
}

fn value_slots(statement: &Statement) -> Vec<Slot> {
    let is_narrowest = narrowest(statement);
    let Some(condition) = statement.conditions.iter().find(|condition| is_narrowest(condition).is_some()) else {
        return Vec::new();
    };
    let Some((key, values)) = condition.required(!statement.allow) else { return Vec::new() };
    let slots: Vec<Slot> = values.map(|value| Slot::Value(value_hash(key.hash(), value))).collect();
    if slots.len() > MOST_KEYS { Vec::new() } else { slots }
}

//! Which roles may this assertion take? An index over the trust policies of all roles, so that the answer does not cost a
//! look at every role.
//!
//! A role is found under a claim value that one of its statements requires, or else under the provider that the statement
//! names, or else (everyone is named) always. What is found is a candidate; [`super::evaluate`] decides.

use super::{
    context::{Context, Key, hash},
    evaluate::{Guardrails, Verdict, companions, decide},
    policy::Statement,
    principal::{Identity, PrincipalPattern},
    request::Request,
    role::{ACCOUNT_KEYS, CompiledRole, account_context, assertion_context},
    set::{Postings, value_hash},
};
use crate::domain::{Arn, name::AccountId, session::IdentityAssertion};
use hashbrown::HashMap;
use std::sync::Arc;

/// The index.
#[derive(Debug, Default)]
pub struct TakeableRoles {
    roles: Box<[Arc<CompiledRole>]>,
    by_value: Postings,
    by_provider: Postings,
    everyone: Box<[u32]>,
    keys: Box<[Key]>,
}

/// The ways into a role by one statement.
struct Way<'s> {
    /// Hashes of the providers' resource parts, which are the same in each account.
    providers: Vec<u64>,
    everyone: bool,
    /// For each condition that requires one of some values: its key, and the hashes of the values with it.
    required: Vec<(&'s Key, Vec<u64>)>,
}

impl TakeableRoles {
    /// Indexes the roles, which come by account and name. Order is kept.
    #[must_use]
    pub fn new(roles: Vec<Arc<CompiledRole>>) -> Self {
        let ways: Vec<Vec<Way<'_>>> = roles.iter().map(|role| ways_into(role)).collect();
        let mut crowd: HashMap<u64, u32> = HashMap::new();
        for way in ways.iter().flatten() {
            for hash in way.providers.iter().chain(way.required.iter().flat_map(|(_, hashes)| hashes)) {
                *crowd.entry(*hash).or_default() += 1;
            }
        }
        let crowded = |hashes: &[u64]| hashes.iter().filter_map(|hash| crowd.get(hash)).max().copied().unwrap_or(u32::MAX);
        let (mut by_value, mut by_provider) = (HashMap::<u64, Vec<u32>>::new(), HashMap::<u64, Vec<u32>>::new());
        let (mut everyone, mut keys) = (Vec::new(), Vec::<Key>::new());
        for (number, way) in (0u32..).zip(&ways).flat_map(|(number, ways)| ways.iter().map(move |way| (number, way))) {
            let narrowest = way.required.iter().min_by_key(|(_, hashes)| crowded(hashes));
            let by_claim = narrowest.filter(|(_, hashes)| way.everyone || crowded(hashes) <= crowded(&way.providers));
            let (lists, hashes) = match by_claim {
                Some((key, hashes)) => {
                    if !keys.contains(key) {
                        keys.push((*key).clone());
                    }
                    (&mut by_value, hashes)
                }
                None if way.everyone => {
                    everyone.push(number);
                    continue;
                }
                None => (&mut by_provider, &way.providers),
            };
            for hash in hashes {
                let list = lists.entry(*hash).or_default();
                if list.last() != Some(&number) {
                    list.push(number);
                }
            }
        }
        drop(ways);
        Self {
            roles: roles.into(),
            by_value: Postings::build(by_value),
            by_provider: Postings::build(by_provider),
            everyone: everyone.into(),
            keys: keys.into(),
        }
    }

    /// The roles whose trust policies let the person in, in the order of the index, each with the context it was decided in.
    ///
    /// `within` asks about one account alone. `standing` says under which ARN the provider stands in an account, or that it
    /// does not.
    pub fn for_assertion<'g, T>(
        &self,
        assertion: &IdentityAssertion,
        within: Option<&AccountId>,
        base: &Context,
        guardrails: impl Fn(&AccountId) -> Guardrails<'g>,
        standing: impl Fn(&AccountId) -> Option<Arn>,
        mut each: impl FnMut(&Arc<CompiledRole>, &Context) -> T,
    ) -> Vec<T> {
        let mut context = assertion_context(assertion, base);
        let mut numbers: Vec<u32> = self.everyone.to_vec();
        numbers.extend(self.by_provider.list(hash(assertion.provider.resource.as_bytes())));
        for key in &self.keys {
            for value in context.of(key).unwrap_or_default() {
                numbers.extend(self.by_value.list(value_hash(key.hash(), value)));
            }
        }
        if let Some(account) = within {
            // They are in order of their accounts.
            let before = self.roles.partition_point(|role| role.role.account < *account);
            let upto = self.roles.partition_point(|role| role.role.account <= *account);
            numbers.retain(|number| (before..upto).contains(&(*number as usize)));
        }
        numbers.sort_unstable();
        numbers.dedup();
        let companions = companions(assertion);
        let mut answers = Vec::new();
        let mut account: Option<(&AccountId, Option<Identity>)> = None;
        for role in numbers.into_iter().filter_map(|number| self.roles.get(number as usize)) {
            if account.as_ref().is_none_or(|(current, _)| **current != role.role.account) {
                account_context(&mut context, assertion, &role.role.account);
                account = Some((&role.role.account, standing(&role.role.account).map(Identity::Federated)));
            }
            let Some((_, Some(who))) = &account else { continue };
            let arn = role.role.arn();
            if !assertion.is_for(&arn) {
                continue;
            }
            let layers = role.trust_layers(guardrails(&role.role.account));
            let mut actions = std::iter::once(assertion.provider.protocol.action()).chain(companions.iter().copied());
            let allowed = actions.all(|action| {
                let request = Request::new(who, action, arn.as_str(), &context);
                matches!(decide(&request, &layers, Some(&role.role.account)), Verdict::Allowed(_))
            });
            if allowed {
                answers.push(each(role, &context));
            }
        }
        answers
    }
}

fn ways_into(role: &CompiledRole) -> Vec<Way<'_>> {
    let statements = role.trust.policies().iter().flat_map(|named| &named.policy.statements);
    statements.filter(|statement| statement.allow).filter_map(|statement| way_by(statement, &role.role.account)).collect()
}

/// None when the statement can't let anybody in whom a provider vouches for.
fn way_by<'s>(statement: &'s Statement, account: &AccountId) -> Option<Way<'s>> {
    let principals = statement.principals.as_ref()?;
    let mut way = Way { providers: Vec::new(), everyone: principals.negated, required: Vec::new() };
    for pattern in &principals.patterns {
        match pattern {
            PrincipalPattern::Everyone => way.everyone = true,
            PrincipalPattern::Federated(provider) => {
                let local = Arn::parse(provider).ok().filter(|arn| arn.account().as_ref() == Some(account));
                way.providers.extend(local.map(|arn| hash(arn.resource().as_bytes())));
            }
            PrincipalPattern::Account(_)
            | PrincipalPattern::Aws(_)
            | PrincipalPattern::Service(_)
            | PrincipalPattern::CanonicalUser(_) => {}
        }
    }
    let required = statement.conditions.iter().filter_map(|condition| condition.required(false));
    way.required = required
        .filter(|(key, _)| !ACCOUNT_KEYS.contains(&key.folded()))
        .map(|(key, values)| (key, values.map(|value| value_hash(key.hash(), value)).collect()))
        .collect();
    (way.everyone || !way.providers.is_empty()).then_some(way)
}

//! Deciding takes nothing from the heap.

use super::{OWN, cases};
use crate::allocations::taken;
use daypass::{
    domain::name::AccountId,
    policy::{
        Context, DocumentKind, Named, Policy, PolicySet, Request,
        evaluate::{Guardrails, Layers, ResourcePolicy, Verdict, decide},
    },
};
use std::sync::Arc;

fn set(count: usize, text: impl Fn(usize) -> String, kind: DocumentKind) -> PolicySet {
    let named =
        (0..count).map(|number| Named { label: "policy".into(), policy: Arc::new(Policy::parse(&text(number), kind).unwrap()) });
    PolicySet::new(named.collect())
}

#[test]
fn deciding_takes_nothing_from_the_heap() {
    let allow = |number: usize| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":["s3:Get*","sqs:SendMessage"],"Resource":"arn:aws:s3:::b{number}/${{aws:username}}/*x*","Condition":{{"StringLike":{{"aws:PrincipalTag/Team":"b*e"}},"IpAddress":{{"aws:SourceIp":"10.0.0.0/8"}},"DateLessThan":{{"aws:CurrentTime":"2030-01-01T00:00:00Z"}},"NumericLessThan":{{"aws:MultiFactorAuthAge":"300"}},"ArnLike":{{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}}}}}}}}"#
        )
    };
    let everything = |_| r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#.to_owned();
    let everybody =
        |_| r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"s3:*","Resource":"*"}}"#.to_owned();
    let identity = set(50, allow, DocumentKind::Identity);
    let cap = set(1, everything, DocumentKind::Identity);
    let levels = [Arc::new(set(2, everything, DocumentKind::ServiceControl))];
    let resource = set(1, everybody, DocumentKind::Resource);
    let layers = Layers {
        identity: &identity,
        boundary: Some(&cap),
        session: Some(&cap),
        resource: Some(ResourcePolicy { policies: &resource, mandatory: true }),
        guardrails: Guardrails { service_control: &levels, resource_control: &[], guarded: None, management: None },
    };
    let mut context = Context::default();
    context.set("aws:username", "jane");
    context.set("aws:PrincipalTag/Team", "blue");
    context.set_address("aws:SourceIp", "10.1.2.3".parse().unwrap());
    context.set_instant("aws:CurrentTime", "2026-11-24T00:00:00Z", 1_795_478_400_000);
    context.set("aws:MultiFactorAuthAge", "12");
    context.set("aws:PrincipalArn", "arn:aws:iam::111122223333:user/team/jane");
    let (who, owner) = (cases::identity("own user"), AccountId::parse(OWN).unwrap());
    let ask = || {
        let request = Request::new(&who, "s3:GetObject", "arn:aws:s3:::b7/jane/a/x/b", &context);
        decide(&request, &layers, Some(&owner))
    };
    assert!(matches!(ask(), Verdict::Allowed(Some(_))), "{:?}", ask());
    let before = taken().0;
    for _ in 0..100 {
        let _ = ask();
    }
    assert_eq!(taken().0, before);
}

//! The index over trust policies finds exactly the roles that asking each of them finds.

use super::role;
use daypass::{
    domain::{
        iam::ProviderOwner,
        name::AccountId,
        session::{FederationProtocol, ProviderRef},
    },
    policy::{
        CompiledRole, Context, Library, TakeableRoles,
        evaluate::{Guardrails, explain_federated},
    },
};
use serde_json::json;
use std::sync::Arc;

/// The trust policies that roles take turns with; `{account}` and `{n}` are filled in.
const TRUSTS: [&str; 9] = [
    r#"{"Statement":{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::{account}:saml-provider/corp"},"Action":"sts:AssumeRoleWithSAML","Condition":{"ForAnyValue:StringEquals":{"saml:groups":["team-{n}","everyone-{n}"]}}}}"#,
    r#"{"Statement":{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::{account}:saml-provider/corp"},"Action":"sts:AssumeRoleWithSAML","Condition":{"StringEquals":{"saml:mail":"jane{n}@example.com"}}}}"#,
    r#"{"Statement":[{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::{account}:saml-provider/corp"},"Action":"sts:*","Condition":{"ForAnyValue:StringLike":{"saml:groups":"team-?"}}},{"Effect":"Deny","Principal":"*","Action":"*","Condition":{"StringEquals":{"saml:doc":"{account}/corp"},"ForAnyValue:StringEquals":{"saml:groups":"team-{n}"}}}]}"#,
    r#"{"Statement":{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::{account}:saml-provider/other"},"Action":"sts:AssumeRoleWithSAML"}}"#,
    r#"{"Statement":{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::999999999999:saml-provider/corp"},"Action":"sts:AssumeRoleWithSAML"}}"#,
    r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRoleWithSAML","Condition":{"StringEquals":{"saml:mail":"jane{n}@example.com"},"Bool":{"saml:employee":"true"}}}}"#,
    r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"{account}"},"Action":"sts:AssumeRole"}}"#,
    r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRoleWithSAML","Condition":{"StringEqualsIfExists":{"saml:mail":"jane{n}@example.com"}}}}"#,
    r#"{"Statement":{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::{account}:saml-provider/corp"},"Action":"sts:AssumeRoleWithSAML","Condition":{"StringEquals":{"saml:doc":"111122220003/corp"}}}}"#,
];

#[test]
fn the_index_finds_what_asking_every_role_finds() {
    let mut library = Library::default();
    let mut roles: Vec<Arc<CompiledRole>> = Vec::new();
    for account in 0..8 {
        let account = format!("11112222000{account}");
        for number in 0..90 {
            let trust = TRUSTS[number % TRUSTS.len()].replace("{account}", &account).replace("{n}", &(number % 7).to_string());
            let role = role(&account, &format!("Role{number:02}"), &trust);
            roles.push(Arc::new(CompiledRole::compile(role, &mut library, |_| None).unwrap()));
        }
    }
    let index = TakeableRoles::new(roles.clone());
    let mut found_any = 0;
    for person in 0..40 {
        let mut assertion = crate::world::directory_assertion(&[]);
        assertion.claims.clear();
        assertion.provider = ProviderRef {
            owner: ProviderOwner::Organization,
            name: "corp".to_owned(),
            resource: "saml-provider/corp".to_owned(),
            protocol: FederationProtocol::Saml,
        };
        let groups = (0..person % 4).map(|group| format!("team-{}", (person + group) % 9)).collect();
        assertion.claims.insert("saml:groups".to_owned(), groups);
        if person % 3 > 0 {
            assertion.claims.insert("saml:mail".to_owned(), vec![format!("jane{}@example.com", person % 8)]);
        }
        if person % 5 == 0 {
            assertion.claims.insert("SAML:Employee".to_owned(), vec!["true".to_owned()]);
        }
        let base = Context::default();
        // In one account the provider does not stand.
        let standing = |account: &AccountId| assertion.provider.arn_in(account).filter(|_| account.as_str() != "111122220007");
        let found = index.for_assertion(
            &assertion,
            None,
            &base,
            |_| Guardrails::NONE,
            standing,
            |role, context| (role.role.arn(), explain_federated(role, &assertion, Guardrails::NONE, context).allowed),
        );
        let asked = roles.iter().filter(|role| role.role.account.as_str() != "111122220007");
        let asked = asked
            .filter(|role| explain_federated(role, &assertion, Guardrails::NONE, &role.trust_context(&assertion, &base)).allowed);
        let asked: Vec<_> = asked.map(|role| (role.role.arn(), true)).collect();
        assert_eq!(found, asked, "{}", json!(assertion.claims));
        let accounts: std::collections::BTreeSet<&AccountId> = roles.iter().map(|role| &role.role.account).collect();
        let by_account = accounts.into_iter().flat_map(|account| {
            let each = |role: &Arc<CompiledRole>, _: &Context| (role.role.arn(), true);
            index.for_assertion(&assertion, Some(account), &base, |_| Guardrails::NONE, standing, each)
        });
        assert_eq!(by_account.collect::<Vec<_>>(), found, "account by account");
        found_any += found.len();
    }
    assert!(found_any > 500, "only {found_any}");
}

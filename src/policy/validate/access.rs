//! Checks of what a statement gives away: passing roles, creating service-linked roles, letting services in.

use super::Check;
use crate::policy::{
    document::{DocumentKind, Located, Statement},
    finding::FindingType::{SecurityWarning, Suggestion, Warning},
    pattern::{Pattern, Syntax},
};

/// How a statement comes to cover an action.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It names the action.
    Named,
    /// By a wildcard.
    Star,
    /// By not excluding it.
    NotAction,
}

fn reach(statement: &Statement, action: &str) -> Option<Reach> {
    let folded = action.to_lowercase();
    let covering = statement.action.values.iter().filter(|value| {
        let pattern = Pattern::compile(&value.value.to_lowercase(), Syntax { wildcards: true, variables: false });
        pattern.is_ok_and(|pattern| pattern.matches(&folded, &Default::default()))
    });
    let mut covering = covering.peekable();
    match (statement.action.negated, covering.peek().is_some()) {
        (true, covered) => (!covered).then_some(Reach::NotAction),
        (false, false) => None,
        (false, true) => {
            Some(if covering.any(|value| value.value.eq_ignore_ascii_case(action)) { Reach::Named } else { Reach::Star })
        }
    }
}

impl Check<'_> {
    pub(super) fn access(&mut self, statement: &Located<Statement>) {
        let written = &statement.value;
        if !written.allow {
            return;
        }
        if matches!(self.surroundings.kind, DocumentKind::Identity) {
            self.pass_role(statement);
            self.service_linked_roles(statement);
        }
        self.services(statement);
    }

    fn pass_role(&mut self, statement: &Located<Statement>) {
        let narrowed = statement.value.conditions.iter().any(|entry| entry.key.value.eq_ignore_ascii_case("iam:PassedToService"));
        let (Some(reach), Some(resource), false) = (reach(&statement.value, "iam:PassRole"), &statement.value.resource, narrowed)
        else {
            return;
        };
        let star = resource.values.iter().any(|value| value.value == "*" || value.value.ends_with(":role/*"));
        let code = match (reach, resource.negated, star) {
            (Reach::Named, true, _) => "PASS_ROLE_WITH_NOT_RESOURCE",
            (Reach::Star, true, _) => "PASS_ROLE_WITH_STAR_IN_ACTION_AND_NOT_RESOURCE",
            (Reach::NotAction, true, _) => "PASS_ROLE_WITH_NOT_ACTION_AND_NOT_RESOURCE",
            (Reach::Named, false, true) => "PASS_ROLE_WITH_STAR_IN_RESOURCE",
            (Reach::Star, false, true) => "PASS_ROLE_WITH_STAR_IN_ACTION_AND_RESOURCE",
            (Reach::NotAction, false, true) => "PASS_ROLE_WITH_STAR_IN_RESOURCE_AND_NOT_ACTION",
            (_, false, false) => return,
        };
        let message = "This lets the principal pass any role to any service, and so act with every role's permissions: name the \
                       roles, or require iam:PassedToService.";
        self.at(SecurityWarning, code, statement, message);
    }

    fn service_linked_roles(&mut self, statement: &Located<Statement>) {
        let action = "iam:CreateServiceLinkedRole";
        let narrowed = statement.value.conditions.iter().any(|entry| entry.key.value.eq_ignore_ascii_case("iam:AWSServiceName"));
        let (Some(reach), Some(resource), false) = (reach(&statement.value, action), &statement.value.resource, narrowed) else {
            return;
        };
        let star = resource.values.iter().any(|value| value.value == "*");
        let code = match (reach, resource.negated, star) {
            (Reach::Named, true, _) => "CREATE_SLR_WITH_NOT_RESOURCE",
            (Reach::Star, true, _) => "CREATE_SLR_WITH_STAR_IN_ACTION_AND_NOT_RESOURCE",
            (Reach::NotAction, true, _) => "CREATE_SLR_WITH_NOT_ACTION_AND_NOT_RESOURCE",
            (Reach::Named, false, true) => "CREATE_SLR_WITH_STAR_IN_RESOURCE",
            (Reach::Star, false, true) => "CREATE_SLR_WITH_STAR_IN_ACTION_AND_RESOURCE",
            (Reach::NotAction, false, true) => "CREATE_SLR_WITH_STAR_IN_RESOURCE_AND_NOT_ACTION",
            (_, false, false) => return,
        };
        let message = "This lets the principal make service-linked roles for every service: require iam:AWSServiceName.";
        self.at(Warning, code, statement, message);
    }

    /// A service acts for whoever asks it to (the confused deputy): its access is narrowed to one's own.
    fn services(&mut self, statement: &Located<Statement>) {
        let Some(principal) = &statement.value.principal else { return };
        let service = principal.values.iter().find(|value| value.value.kind == "Service" && !principal.negated);
        let Some(service) = service.filter(|_| self.surroundings.kind == DocumentKind::Resource) else { return };
        let sources = ["aws:sourcearn", "aws:sourceaccount", "aws:sourceorgid", "aws:sourceorgpaths"];
        let narrowed = statement
            .value
            .conditions
            .iter()
            .any(|entry| sources.contains(&entry.key.value.to_lowercase().as_str()) && !entry.operator.contains("Not"));
        if !narrowed {
            let message = format!(
                "`{}` may be acting for somebody else's resource: require aws:SourceAccount, aws:SourceArn or aws:SourceOrgID.",
                service.value.value
            );
            self.at(SecurityWarning, "RESTRICT_ACCESS_TO_SERVICE_PRINCIPAL", service, message);
        } else if !statement.value.conditions.iter().any(|entry| entry.key.value.eq_ignore_ascii_case("aws:SourceArn")) {
            let message = "aws:SourceArn would narrow the service's access to one resource.";
            self.at(Suggestion, "RECOMMENDED_CONDITION_KEY_FOR_SERVICE_PRINCIPAL", service, message);
        }
    }
}

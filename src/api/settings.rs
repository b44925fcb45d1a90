//! The settings in force, and what each does. For pages.

use super::apply::Operator;
use crate::{
    domain::Error,
    gateway::{Access, Call, Operation, Read, Scope, Setting},
};
use serde::{Deserialize, Serialize};

/// Lists the settings of the broker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSettings {}

/// The answer.
#[derive(Debug, Serialize)]
pub struct SettingList {
    /// In the order of the manual.
    pub settings: Vec<Setting>,
}

impl Operation for ListSettings {
    type Service = Operator;
    type Mode = Read;
    type Output = SettingList;
    const NAME: &'static str = "ListSettings";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        super::signin::administered(scope, &["sso:DescribeInstance"])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SettingList, Error> {
        Ok(SettingList { settings: call.broker.settings.to_vec() })
    }
}

//! Virtual MFA devices of users: the second factor of API callers.

use super::{
    Iam, no_such,
    users::{UserDetail, Whose, find},
};
use crate::{
    crypto::totp,
    domain::{Arn, Error, ErrorKind, Secret, Timestamp, name::IamUserName, user::MfaDevice},
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::evaluate::Check,
    store::Snapshot,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A device on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VirtualMFADevice {
    /// Its ARN.
    pub serial_number: Arn,
    /// The secret in base32, and that in base64, as AWS has it; shown once.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "reveal")]
    pub base_32_string_seed: Option<Secret<String>>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserDetail>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_date: Option<Timestamp>,
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn reveal<S: serde::Serializer>(seed: &Option<Secret<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    match seed {
        Some(seed) => serializer.serialize_str(seed.expose()),
        None => serializer.serialize_none(),
    }
}

/// Makes a device. It counts once a user has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateVirtualMFADevice {
    /// Unique in the account.
    #[serde(rename = "VirtualMFADeviceName")]
    pub name: IamUserName,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct VirtualMFADeviceAnswer {
    /// The device.
    #[serde(rename = "VirtualMFADevice")]
    pub device: VirtualMFADevice,
}

impl Operation for CreateVirtualMFADevice {
    type Service = Iam;
    type Mode = Write;
    type Output = VirtualMFADeviceAnswer;
    const NAME: &'static str = "CreateVirtualMFADevice";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let arn = Arn::iam(scope.account()?, &format!("mfa/{}", self.name));
        Ok(Access::Signed(vec![Check::new("iam:CreateVirtualMFADevice", arn)]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<VirtualMFADeviceAnswer, Error> {
        let seed: [u8; totp::SEED_BYTES] = call.broker.random.bytes();
        let account = call.account()?.clone();
        let device = MfaDevice { account, name: self.name, seed: Secret::new(seed.to_vec()), enabled: None };
        if call.tx.snapshot.mfa_devices.contains_key(&device.serial()) {
            let message = format!("MFADevice entity at the same path and name already exists: {}", device.name);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        call.tx.note("serialNumber", device.serial());
        call.tx.put_mfa_device(&device).await?;
        let base32 = totp::base32(&device.seed);
        Ok(VirtualMFADeviceAnswer {
            device: VirtualMFADevice {
                serial_number: device.serial(),
                base_32_string_seed: Some(Secret::new(STANDARD.encode(base32.expose()))),
                user: None,
                enable_date: None,
            },
        })
    }
}

fn find_device(snapshot: &Snapshot, serial: &Arn) -> Result<Arc<MfaDevice>, Error> {
    let missing = || Error::new(ErrorKind::NoSuchEntity, format!("VirtualMFADevice with serial number {serial} doesn't exist."));
    snapshot.mfa_devices.get(serial).cloned().ok_or_else(missing)
}

fn on_device(action: &str, serial: &Arn) -> Result<Access, Error> {
    let check = Check::new(action, serial);
    Ok(Access::Signed(vec![match serial.account() {
        Some(account) => check.owned_by(account),
        None => check,
    }]))
}

/// Gives a device to a user, who proves to have it by two codes in a row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct EnableMFADevice {
    /// The user.
    pub user_name: IamUserName,
    /// The device.
    pub serial_number: Arn,
    /// Six digits.
    #[serde(rename = "AuthenticationCode1")]
    pub code: Secret<String>,
    /// The six digits after those.
    #[serde(rename = "AuthenticationCode2")]
    pub next_code: Secret<String>,
}

impl Operation for EnableMFADevice {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "EnableMFADevice";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Whose::check(scope, Some(&self.user_name), "iam:EnableMFADevice")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let now = call.caller.origin.time;
        let snapshot = call.tx.snapshot.clone();
        let user = &find(&snapshot, call.scope, &self.user_name)?.user;
        let device = find_device(&snapshot, &self.serial_number)?;
        if device.account != user.account {
            return Err(no_such("VirtualMFADevice", self.serial_number.as_str()));
        }
        if device.enabled.is_some() {
            let message = format!("MFA device with serial number {} is already in use.", self.serial_number);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        if !totp::in_a_row(&device.seed, self.code.expose(), self.next_code.expose(), now) {
            return Err(Error::new(ErrorKind::InvalidAuthenticationCode, "Authentication code for device is not valid."));
        }
        call.tx.note("userArn", user.arn());
        call.tx.note("serialNumber", &self.serial_number);
        call.tx.put_mfa_device(&MfaDevice { enabled: Some((user.id.clone(), now)), ..(*device).clone() }).await
    }
}

/// Takes a device away from its user.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeactivateMFADevice {
    /// The user; default the caller.
    pub user_name: Option<IamUserName>,
    /// The device.
    pub serial_number: Arn,
}

impl Operation for DeactivateMFADevice {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeactivateMFADevice";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Whose::check(scope, self.user_name.as_ref(), "iam:DeactivateMFADevice")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let snapshot = call.tx.snapshot.clone();
        let owner = Whose::of(call.scope, self.user_name.as_ref())?.id(&snapshot, call.scope)?;
        let device = find_device(&snapshot, &self.serial_number)?;
        if device.enabled.as_ref().map(|(id, _)| id) != owner.as_ref() || owner.is_none() {
            return Err(no_such("MFA device of this user", self.serial_number.as_str()));
        }
        call.tx.note("serialNumber", &self.serial_number);
        call.tx.put_mfa_device(&MfaDevice { enabled: None, ..(*device).clone() }).await
    }
}

/// Deletes a device that no user has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteVirtualMFADevice {
    /// The device.
    pub serial_number: Arn,
}

impl Operation for DeleteVirtualMFADevice {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteVirtualMFADevice";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        on_device("iam:DeleteVirtualMFADevice", &self.serial_number)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let device = find_device(&call.tx.snapshot, &self.serial_number)?;
        if device.enabled.is_some() {
            return Err(Error::new(ErrorKind::DeleteConflict, "MFA VirtualDevice in use. Must deactivate first."));
        }
        call.tx.note("serialNumber", &self.serial_number);
        call.tx.delete_mfa_device(&device).await
    }
}

/// Lists the devices of a user.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListMFADevices {
    /// Default: the caller.
    pub user_name: Option<IamUserName>,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// A user's device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnabledDevice {
    /// The user.
    pub user_name: String,
    /// The device.
    pub serial_number: Arn,
    /// Since when.
    pub enable_date: Timestamp,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnabledDevices {
    /// A page of devices.
    #[serde(rename = "MFADevices")]
    pub devices: Vec<EnabledDevice>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

impl Operation for ListMFADevices {
    type Service = Iam;
    type Mode = Read;
    type Output = EnabledDevices;
    const NAME: &'static str = "ListMFADevices";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Whose::check(scope, self.user_name.as_ref(), "iam:ListMFADevices")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<EnabledDevices, Error> {
        let snapshot = &call.tx.snapshot;
        let owner = Whose::of(call.scope, self.user_name.as_ref())?.id(snapshot, call.scope)?;
        let of_owner = snapshot.mfa_devices.values().filter_map(|device| {
            let (id, since) = device.enabled.as_ref().filter(|(id, _)| Some(id) == owner.as_ref())?;
            let user_name = snapshot.user_by_id(id)?.user.name.to_string();
            Some(EnabledDevice { user_name, serial_number: device.serial(), enable_date: *since })
        });
        let key = |device: &EnabledDevice| device.serial_number.to_string();
        let (devices, marker) = crate::api::page(of_owner, key, self.marker.as_deref(), self.max_items)?;
        Ok(EnabledDevices { devices, is_truncated: marker.is_some(), marker })
    }
}

/// Which devices to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssignmentStatus {
    /// Those that a user has.
    Assigned,
    /// Those that nobody has.
    Unassigned,
    /// All.
    #[default]
    Any,
}

/// Lists the account's devices.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListVirtualMFADevices {
    /// Default `Any`.
    #[serde(default)]
    pub assignment_status: AssignmentStatus,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VirtualMFADevices {
    /// A page of devices.
    #[serde(rename = "VirtualMFADevices")]
    pub devices: Vec<VirtualMFADevice>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

impl Operation for ListVirtualMFADevices {
    type Service = Iam;
    type Mode = Read;
    type Output = VirtualMFADevices;
    const NAME: &'static str = "ListVirtualMFADevices";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:ListVirtualMFADevices", Arn::iam(scope.account()?, "mfa/*"))]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<VirtualMFADevices, Error> {
        let account = call.account()?;
        let snapshot = &call.tx.snapshot;
        let wanted = |device: &&Arc<MfaDevice>| {
            device.account == *account
                && match self.assignment_status {
                    AssignmentStatus::Assigned => device.enabled.is_some(),
                    AssignmentStatus::Unassigned => device.enabled.is_none(),
                    AssignmentStatus::Any => true,
                }
        };
        let own = snapshot.mfa_devices.values().filter(wanted);
        let (page, marker) = crate::api::page(own, |device| device.serial().to_string(), self.marker.as_deref(), self.max_items)?;
        let detail = |device: &Arc<MfaDevice>| {
            let owner = device.enabled.as_ref().and_then(|(id, _)| snapshot.user_by_id(id));
            VirtualMFADevice {
                serial_number: device.serial(),
                base_32_string_seed: None,
                user: owner.map(|user| UserDetail::new(&user.user)),
                enable_date: device.enabled.as_ref().map(|(_, since)| *since),
            }
        };
        Ok(VirtualMFADevices { devices: page.into_iter().map(detail).collect(), is_truncated: marker.is_some(), marker })
    }
}

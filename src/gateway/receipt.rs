//! Denial receipts: a refused attempt to take a role carries, sealed, why. The caller can't read it; who may
//! `sts:DecodeAuthorizationMessage` in the caller's account or the role's can (STS API reference).
//!
//! All receipts have the same length, so that a refusal does not tell whether the role exists or how long its policy is.

use crate::{
    crypto::seal::{KeyRing, Purpose},
    domain::{Arn, Error, Timestamp, name::AccountId},
    policy::{
        Explanation,
        decision::{Layer, PolicyTrace},
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};

/// What a receipt holds, compressed and padded, in bytes.
const ROOM: usize = 1024;
/// Most bytes a receipt unfolds to.
const MAX_UNFOLDED: u64 = 262_144;

/// Why somebody was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Whose it is: the accounts of the caller and of the resource.
    pub accounts: Vec<AccountId>,
    /// When.
    pub time: Timestamp,
    /// Who was refused.
    pub principal: String,
    /// Every policy that had a say.
    pub explanation: Explanation,
}

impl Receipt {
    /// What an account may see of it: none when it is not the caller's or the resource's. The caller's account sees of the
    /// resource's policy what of its own request was looked at, and not what the policy asks for.
    #[must_use]
    pub fn seen_by(mut self, account: &AccountId) -> Option<Self> {
        if !self.accounts.contains(account) {
            return None;
        }
        let owner = Arn::parse(&self.explanation.resource).ok().and_then(|arn| arn.account());
        if owner.is_none_or(|owner| owner == *account) {
            return Some(self);
        }
        let of_resource = |policy: &&mut PolicyTrace| matches!(policy.layer, Layer::Resource | Layer::ResourceControl);
        for policy in self.explanation.policies.iter_mut().filter(of_resource) {
            "the resource's policy".clone_into(&mut policy.policy);
            for statement in &mut policy.statements {
                statement.sid = None;
                for written in [&mut statement.principals, &mut statement.actions, &mut statement.resources] {
                    written.clear();
                }
                statement.conditions.retain(|condition| !condition.received.is_empty());
                for condition in &mut statement.conditions {
                    condition.expected.clear();
                    condition.note = None;
                }
            }
        }
        Some(self)
    }

    /// Seals it. What does not fit is left out: first statements that are far from applying, then all.
    ///
    /// # Errors
    /// `Internal`.
    pub fn seal(mut self, ring: &KeyRing) -> Result<String, Error> {
        let mut packed = self.pack()?;
        if packed.len() > ROOM - 2 {
            for policy in &mut self.explanation.policies {
                policy.statements.retain(|trace| trace.applies || trace.nearly);
            }
            packed = self.pack()?;
        }
        if packed.len() > ROOM - 2 {
            self.explanation.policies.clear();
            packed = self.pack()?;
        }
        let length = u16::try_from(packed.len()).map_err(Error::internal)?;
        let mut padded = length.to_be_bytes().to_vec();
        padded.append(&mut packed);
        padded.resize(ROOM, 0);
        let sealed = ring.seal(Purpose::AuthorizationMessage, "", &padded).map_err(Error::internal)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn pack(&self) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self).map_err(Error::internal)?;
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&json).map_err(Error::internal)?;
        encoder.finish().map_err(Error::internal)
    }

    /// Opens one; none when it is not ours.
    #[must_use]
    pub fn open(ring: &KeyRing, text: &str) -> Option<Self> {
        let padded = ring.open(Purpose::AuthorizationMessage, "", &URL_SAFE_NO_PAD.decode(text.trim()).ok()?)?;
        let (length, rest) = padded.split_first_chunk::<2>()?;
        let packed = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        let mut json = Vec::new();
        DeflateDecoder::new(packed).take(MAX_UNFOLDED).read_to_end(&mut json).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

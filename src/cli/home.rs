//! What the command line keeps on this machine, for one person: sealed files of their own, under a key in the keyring of the
//! operating system. Where there was none at first, the key is in a file that only they can read, and stays there.

use super::{Failure, client::address};
use crate::{
    config::{SystemRandom, variable, write_private},
    crypto::{
        seal::{KeyRing, Purpose, RingKey},
        sha256_hex,
    },
    domain::{Random, Secret},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Who sealed: the key of the keyring.
const OF_KEYRING: u32 = 1;
/// Or that of the file.
const OF_FILE: u32 = 2;
const KEY_FILE: &str = "key";
/// Below this sessions are kept, one for each broker: what is lost first when a key is.
pub(super) const SESSIONS: &str = "sessions/";
/// How often somebody who waits looks whether it is their turn.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// In this file the address of the broker of the last sign-in is kept. It is not sealed: where the key is lost, people sign in
/// again where they were.
const LAST: &str = "broker";

/// The broker that a command is for.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct BrokerChoice {
    /// Address of the broker [default: the one of the last sign-in].
    #[arg(long, env = "DAYPASS_URL", value_name = "URL")]
    pub(super) url: Option<String>,
}

impl BrokerChoice {
    /// What was said; a variable that is empty says nothing.
    pub(super) fn said(&self) -> Option<&str> {
        self.url.as_deref().filter(|url| !url.is_empty())
    }
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Home({})", self.folder.display())
    }
}

/// The folder and its key.
pub(super) struct Home {
    folder: PathBuf,
    ring: KeyRing,
    /// Address of the broker that was said, or signed in to last.
    broker: Option<String>,
    /// Where the key is.
    pub(super) keyring: bool,
}

/// Held by one process of this person at a time, until it is dropped.
pub(super) struct Turn {
    _file: fs::File,
}

/// `$DAYPASS_HOME`, else `$XDG_STATE_HOME/daypass`, else `~/.local/state/daypass`.
fn place() -> Result<PathBuf, Failure> {
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let default = || user_home().map(|home| home.join(".local/state"));
    let folder =
        variable("DAYPASS_HOME").map(PathBuf::from).or_else(|| state.or_else(default).map(|state| state.join("daypass")));
    folder.ok_or_else(|| Failure::new("there is no place to keep the session").hint("set HOME or DAYPASS_HOME"))
}

/// The person's own folder.
pub(super) fn user_home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

fn make(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Failure::new(format!("{}: {error}", folder.display())))
}

impl Home {
    pub(super) fn open(choice: &BrokerChoice) -> Result<Self, Failure> {
        let broker = choice.said().map(address).transpose()?;
        let folder = place()?;
        make(&folder).map_err(|failure| failure.hint("set DAYPASS_HOME to a folder that can be written"))?;
        // Two names of one folder have one key.
        let folder = fs::canonicalize(&folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
        let (id, key) = match file_key(&folder)? {
            // Made where there was no keyring, and kept to.
            Some(key) => (OF_FILE, key),
            None => match keyring_key(&folder) {
                Ok(key) => (OF_KEYRING, key),
                Err(why) if why.is_some() && has_sessions(&folder) => {
                    let message = format!("the keyring of this machine does not open: {}", why.unwrap_or_default());
                    return Err(
                        Failure::new(message).hint(format!("unlock it, or remove {} and sign in again", folder.display()))
                    );
                }
                Err(_) => (OF_FILE, new_file_key(&folder)?),
            },
        };
        let ring = KeyRing::new(&[RingKey { id, key, seals: true }], Arc::new(SystemRandom));
        let ring = ring.map_err(|error| Failure::new(error.to_string()))?;
        let last = || fs::read_to_string(folder.join(LAST)).ok().and_then(|text| address(text.trim()).ok());
        let broker = broker.or_else(last);
        Ok(Self { folder, ring, broker, keyring: id == OF_KEYRING })
    }

    /// Address of the broker, where one is known.
    pub(super) fn broker(&self) -> Option<&str> {
        self.broker.as_deref()
    }

    /// The broker to go to from now on.
    pub(super) fn remember_broker(&mut self, url: &str) -> Result<(), Failure> {
        self.broker = Some(url.to_owned());
        write_private(&self.folder.join(LAST), &format!("{url}\n")).map_err(Failure::from)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.sealed"))
    }

    /// Writes a value, whole or not at all.
    pub(super) fn keep(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let file = self.file(name);
        if let Some(folder) = file.parent() {
            make(folder)?;
        }
        let plain = Secret::new(serde_json::to_vec(value).map_err(|error| Failure::new(error.to_string()))?);
        let sealed = self.ring.seal(Purpose::CommandLine, name, plain.expose());
        let sealed = sealed.map_err(|error| Failure::new(error.to_string()))?;
        write_private(&file, &STANDARD.encode(sealed)).map_err(Failure::from)
    }

    /// A value, if it is there and can be read: what another key sealed is as good as gone.
    pub(super) fn kept<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let sealed = STANDARD.decode(fs::read(self.file(name)).ok()?.trim_ascii()).ok()?;
        let plain = Secret::new(self.ring.open(Purpose::CommandLine, name, &sealed)?);
        serde_json::from_slice(plain.expose()).ok()
    }

    /// Removes a value, or all below a name that ends with a slash.
    pub(super) fn forget(&self, name: &str) -> Result<(), Failure> {
        let gone = match name.strip_suffix('/') {
            Some(folder) => fs::remove_dir_all(self.folder.join(folder)),
            None => fs::remove_file(self.file(name)),
        };
        match gone {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Failure::new(format!("{}: {error}", self.folder.join(name).display())))
            }
            _ => Ok(()),
        }
    }

    /// Waits for its turn: of many processes that need the same, one asks the broker. Who waits no longer hangs up.
    pub(super) async fn turn(&self, name: &str) -> Result<Turn, Failure> {
        let file = self.folder.join("locks").join(format!("{name}.lock"));
        if let Some(folder) = file.parent() {
            make(folder)?;
        }
        let wrong = |error: std::io::Error| Failure::new(format!("{}: {error}", file.display()));
        let handle = private().create(true).truncate(false).write(true).open(&file).map_err(wrong)?;
        loop {
            match handle.try_lock() {
                Ok(()) => return Ok(Turn { _file: handle }),
                Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(fs::TryLockError::Error(error)) => return Err(wrong(error)),
            }
        }
    }
}

fn has_sessions(folder: &Path) -> bool {
    fs::read_dir(folder.join(SESSIONS)).is_ok_and(|mut entries| entries.next().is_some())
}

fn private() -> fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.mode(0o600);
    options
}

fn file_key(folder: &Path) -> Result<Option<Secret<[u8; 32]>>, Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let file = folder.join(KEY_FILE);
    let wrong = |error: std::io::Error| Failure::new(format!("{}: {error}", file.display()));
    let mut handle = match fs::File::open(&file) {
        Ok(handle) => handle,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    // Of what was opened, whatever the name leads to by now.
    let data = handle.metadata().map_err(wrong)?;
    if data.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::new(format!("{} is somebody else's", file.display())).hint("set DAYPASS_HOME to a folder of yours"));
    }
    if data.mode() & 0o077 != 0 {
        let fix = format!("chmod 600 {}", file.display());
        return Err(Failure::new(format!("others can read {}", file.display())).hint(fix));
    }
    let mut text = String::new();
    handle.read_to_string(&mut text).map_err(wrong)?;
    let text = Secret::new(text);
    let key = STANDARD.decode(text.expose().trim()).ok().and_then(|key| <[u8; 32]>::try_from(key).ok());
    let key = key.ok_or_else(|| Failure::new(format!("{} holds no key", file.display())).hint("remove it, and sign in again"))?;
    Ok(Some(Secret::new(key)))
}

/// The first process makes it; the others find it.
fn new_file_key(folder: &Path) -> Result<Secret<[u8; 32]>, Failure> {
    use std::io::Write as _;
    let random: &dyn Random = &SystemRandom;
    let (key, draft, file) = (Secret::new(random.bytes::<32>()), folder.join(random.token()), folder.join(KEY_FILE));
    let attempt = || {
        let mut handle = private().create_new(true).write(true).open(&draft)?;
        handle.write_all(STANDARD.encode(key.expose()).as_bytes())?;
        handle.sync_all()?;
        // A link takes nobody's place, as a rename would.
        let linked = fs::hard_link(&draft, &file);
        fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    };
    attempt().map_err(|error: std::io::Error| Failure::new(format!("{}: {error}", file.display())))?;
    file_key(folder)?.ok_or_else(|| Failure::new(format!("{} has gone", file.display())))
}

/// The key in the keyring, made where there is none yet; else why there is no keyring: none where nobody wants one.
fn keyring_key(folder: &Path) -> Result<Secret<[u8; 32]>, Option<String>> {
    if variable("DAYPASS_KEYRING").is_some_and(|wish| wish == "off") {
        return Err(None);
    }
    let why = |error: keyring::Error| Some(error.to_string());
    // A folder has its own: tests, and people with several, share nothing.
    let name = sha256_hex(folder.as_os_str().as_encoded_bytes());
    let entry = keyring::Entry::new("daypass", name.get(..16).unwrap_or_default()).map_err(why)?;
    let key = match entry.get_secret() {
        Err(keyring::Error::NoEntry) => {
            let random: &dyn Random = &SystemRandom;
            entry.set_secret(&random.bytes::<32>()).map_err(why)?;
            entry.get_secret()
        }
        found => found,
    };
    <[u8; 32]>::try_from(key.map_err(why)?).map(Secret::new).map_err(|_| Some("its entry is no key".to_owned()))
}

//! The master key, and files that only their owner can read.

use super::{Settings, SystemRandom, bad, variable};
use crate::domain::{Error, Random, Secret};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fs,
    io::{BufWriter, ErrorKind as IoErrorKind, Write},
    path::{Path, PathBuf},
};

impl Settings {
    /// Where the master key is, unless it is in the environment.
    fn master_key_place(&self) -> PathBuf {
        let credential = variable("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join("daypass-master-key"));
        match (&self.master_key_file, credential) {
            (Some(file), _) => file.clone(),
            (None, Some(file)) if file.exists() => file,
            (None, _) => self.data.join("master.key"),
        }
    }

    /// The master key, which has to be there.
    ///
    /// # Errors
    /// `InvalidInput` with the file that can't be read.
    pub fn master_key_in_use(&self) -> Result<Secret<[u8; 32]>, Error> {
        if let Some(text) = variable("DAYPASS_MASTER_KEY") {
            let key = decode_key(&text).ok_or_else(|| bad("DAYPASS_MASTER_KEY: expected 32 bytes in base64"))?;
            return Ok(Secret::new(key));
        }
        let file = self.master_key_place();
        let key = decode_key(read_private(&file)?.expose());
        key.map(Secret::new).ok_or_else(|| bad(format!("{}: expected 32 bytes in base64", file.display())))
    }

    /// Puts a master key that came back from a backup into its place.
    ///
    /// # Errors
    /// `InvalidInput` when there is another one already, or the file can't be written.
    pub(super) fn keep_master_key(&self, key: &Secret<[u8; 32]>) -> Result<(), Error> {
        let file = self.master_key_place();
        if variable("DAYPASS_MASTER_KEY").is_some() || file.exists() {
            return match self.master_key_in_use()? == *key {
                true => Ok(()),
                false => Err(bad("there is another master key than the one of the backup: remove it, or restore without it")),
            };
        }
        write_private(&file, &STANDARD.encode(key.expose()))
    }

    /// The master key: from `DAYPASS_MASTER_KEY` (base64), from a systemd credential, or from a file, which is made with a
    /// new key when it is the default one and the data folder has no store yet.
    pub(super) fn master_key(&self, random: &dyn Random) -> Result<[u8; 32], Error> {
        let file = self.master_key_place();
        match variable("DAYPASS_MASTER_KEY").map_or_else(|| fs::metadata(&file).map(drop), |_| Ok(())) {
            Ok(()) => self.master_key_in_use().map(|key| *key.expose()),
            Err(error) if error.kind() == IoErrorKind::NotFound && self.master_key_file.is_none() => {
                if self.postgres.is_some() {
                    return Err(bad(format!(
                        "{}: brokers of one database share one master key; make it once, and set `master_key_file`",
                        file.display()
                    )));
                }
                if self.data.join("daypass.sqlite").exists() {
                    return Err(bad(format!(
                        "{}: the master key of this store is missing; restore it from your backup",
                        file.display()
                    )));
                }
                let key: [u8; 32] = random.bytes();
                write_private(&file, &STANDARD.encode(key))?;
                Ok(key)
            }
            Err(error) => Err(bad(format!("{}: {error}", file.display()))),
        }
    }
}

pub(super) fn make_private_folder(folder: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| bad(format!("{}: {error}", folder.display())))
}

fn decode_key(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

/// A key that others may read is no key.
pub(super) fn check_private(file: &Path) -> Result<(), Error> {
    // systemd gives the service access by a list that looks like the group's.
    if variable("CREDENTIALS_DIRECTORY").is_some_and(|folder| file.starts_with(folder)) {
        return Ok(());
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(file).map_err(|error| bad(format!("{}: {error}", file.display())))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(bad(format!("{}: others may read this key; run chmod 600 on it", file.display())))
}

/// Writes a file only its owner can read, whole or not at all.
///
/// # Errors
/// `InvalidInput` with the file's name.
pub fn write_private(file: &Path, text: &str) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let attempt = || {
        // A name that nobody can guess and lead elsewhere.
        let random: &dyn Random = &SystemRandom;
        let draft = file.with_extension(format!("{}.tmp", random.token()));
        let mut handle = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = handle.write_all(text.as_bytes()).and_then(|()| handle.sync_all()).and_then(|()| fs::rename(&draft, file));
        if let Err(error) = written {
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok::<(), std::io::Error>(())
    };
    attempt().map_err(|error| bad(format!("{}: {error}", file.display())))
}

/// Reads a text of one line that nobody else may read.
///
/// # Errors
/// `InvalidInput` with the file's name.
pub fn read_private(file: &Path) -> Result<Secret<String>, Error> {
    let text = fs::read_to_string(file).map_err(|error| bad(format!("{}: {error}", file.display())))?;
    check_private(file)?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Writes a new file only its owner can read, whole or not at all, as it comes.
///
/// # Errors
/// `InvalidInput` when the file is there already or can't be written; those of the writer.
pub async fn write_private_stream<T>(
    file: &Path,
    write: impl AsyncFnOnce(&mut BufWriter<fs::File>) -> Result<T, Error>,
) -> Result<T, Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |error: std::io::Error| bad(format!("{}: {error}", file.display()));
    let handle = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let mut to = BufWriter::new(handle);
    let written = match write(&mut to).await {
        Ok(written) => to.flush().and_then(|()| to.get_ref().sync_all()).map(|()| written).map_err(failed),
        Err(error) => Err(error),
    };
    if written.is_err() {
        let _ = fs::remove_file(file);
    }
    written
}

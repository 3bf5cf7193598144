//! The key file is read again while the process runs: a mounted Secret changes by a link that is swapped, so its contents
//! are compared, not its times.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{KeyFileError, Keyring, Sealer};
use crate::causes::chain;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(2);

impl Sealer {
    /// Takes up what changes in the file, until `stop`. While it cannot be used, the keys before stay in use; `usable` is
    /// told whether it can.
    pub async fn follow(self, usable: impl Fn(bool) + Send, stop: CancellationToken) {
        usable(true);
        let Some(path) = self.file.clone() else { return };
        let mut seen: Option<Zeroizing<Vec<u8>>> = None;
        let mut trouble: Option<String> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let read = tokio::fs::read(&*path).await.map(Zeroizing::new);
            let found = match read {
                Ok(text) if trouble.is_none() && seen.as_ref() == Some(&text) => continue,
                Ok(text) => parsed(&text).inspect(|_| seen = Some(text)),
                Err(source) => Err(KeyFileError::Read { path: path.to_path_buf(), source }),
            };
            match found {
                Ok(keyring) => self.take(keyring, trouble.take().is_some()),
                Err(error) => {
                    let said = chain(&error);
                    if trouble.as_ref() != Some(&said) {
                        tracing::error!(error = said, "the keys before stay in use");
                        trouble = Some(said);
                    }
                }
            }
            usable(trouble.is_none());
        }
    }

    fn take(&self, keyring: Keyring, mended: bool) {
        let names = |keyring: &Keyring| keyring.names().map(str::to_owned).collect::<Vec<_>>();
        let now = names(&keyring);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let before = keys.as_deref().map(names).unwrap_or_default();
        *keys = Some(Arc::new(keyring));
        if mended || before != now {
            tracing::info!(keys = now.join(", "), writing = now.first(), "the grant key file was read again");
        }
    }
}

fn parsed(text: &[u8]) -> Result<Keyring, KeyFileError> {
    let text = std::str::from_utf8(text).map_err(|_| KeyFileError::Line { line: 1, what: "it is not text" })?;
    Keyring::parse(text)
}

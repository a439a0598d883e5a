//! Files with certificates, read again when they change.
//!
//! A file is looked at before each use, which costs a system call; it is read only if its size, times or inode differ.
//! If what is read then cannot be used, what was read before stays in use: the two files of a pair are seldom replaced
//! at the same moment.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// A file that was changed less than this ago is read at each use, since a second change may bear the same time.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Certificates, a key or a list cannot be used; in the words of Go where etcd shows them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(pub(super) String);

impl FileError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// What distinguishes one content of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    is_settled: bool,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        let age = meta.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        Some(Self {
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            // A time to come says nothing.
            is_settled: age.is_none_or(|age| age >= SETTLED_AFTER),
        })
    }
}

type Load<T> = Box<dyn Fn() -> Result<T, FileError> + Send + Sync>;

/// A value that is made from files.
pub(super) struct Watched<T> {
    paths: Vec<PathBuf>,
    load: Load<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    stamps: Vec<Option<Stamp>>,
    value: Result<Arc<T>, FileError>,
    /// Why the newest content is not in use.
    failure: Option<FileError>,
}

impl<T> Watched<T> {
    /// Reads the files for the first time.
    pub(super) fn new(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Self {
        let stamps = stamps(&paths);
        let value = load().map(Arc::new);
        let failure = value.as_ref().err().cloned();
        let state = Mutex::new(State { stamps, value, failure });
        Self { paths, load: Box::new(load), state }
    }

    /// The value of the files as they are, or the last one that could be used.
    ///
    /// # Errors
    ///
    /// When no content so far could be used.
    pub(super) fn current(&self) -> Result<Arc<T>, FileError> {
        let mut state = self.lock();
        let stamps = stamps(&self.paths);
        let is_settled = stamps.iter().flatten().all(|stamp| stamp.is_settled);
        if is_settled && stamps == state.stamps {
            return state.value.clone();
        }
        let has_changed = stamps != state.stamps;
        state.stamps = stamps;
        match (self.load)() {
            Ok(value) => {
                if has_changed {
                    crate::log!(Info, "read changed TLS files", "paths" => self.names());
                }
                state.value = Ok(Arc::new(value));
                state.failure = None;
            }
            Err(error) => {
                if state.failure.as_ref() != Some(&error) {
                    let message = "changed TLS files cannot be used; what was read before stays in use";
                    crate::log!(Warn, message, "paths" => self.names(), "error" => error.to_string());
                }
                if state.value.is_err() {
                    state.value = Err(error.clone());
                }
                state.failure = Some(error);
            }
        }
        state.value.clone()
    }

    fn names(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.display().to_string()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // The state is valid at each moment, so a panic of another holder changes nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watched").field("paths", &self.paths).finish_non_exhaustive()
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(|path| Stamp::of(path)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|error| {
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default().to_ascii_lowercase();
        FileError(format!("open {}: {text}", path.display()))
    })
}

/// A chain of certificates, the own one first, and its key.
pub(super) fn read_pair(
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileError> {
    let (cert, key) = (read(cert)?, read(key)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&cert)
        .collect::<Result<_, _>>()
        .map_err(|error| FileError(format!("tls: failed to parse certificate: {error}")))?;
    if chain.is_empty() {
        return Err(FileError::new(if is_pem(&cert) {
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input"
        } else {
            "tls: failed to find any PEM data in certificate input"
        }));
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| {
        FileError::new(if CertificateDer::from_pem_slice(&key).is_ok() {
            "tls: found a certificate rather than a key in the PEM for the private key"
        } else if is_pem(&key) {
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input"
        } else {
            "tls: failed to find any PEM data in key input"
        })
    })?;
    Ok((chain, key))
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(10).any(|window| window == b"-----BEGIN")
}

/// The common name in the certificate of a file; `None` if there is no certificate to be read.
pub(crate) fn common_name(path: &Path) -> Option<String> {
    let certificates = read_authorities(path).ok()?;
    super::certificate::Certificate::read(certificates.first()?)
        .map(|certificate| certificate.identity.common_name)
}

/// All certificates in a file of trusted ones.
pub(super) fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| FileError(format!("{}: {error}", path.display())))?;
    if all.is_empty() {
        return Err(FileError(format!("no certificate in {}", path.display())));
    }
    Ok(all)
}

/// A list of revoked certificates, as DER; the file may be DER or PEM.
pub(super) fn read_revocations(path: &Path) -> Result<Vec<u8>, FileError> {
    let bytes = read(path)?;
    match CertificateRevocationListDer::from_pem_slice(&bytes) {
        Ok(list) => Ok(list.as_ref().to_vec()),
        Err(_) => Ok(bytes),
    }
}

/// Where systems keep the authorities that all programs trust.
const SYSTEM_AUTHORITIES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file of authorities that all programs of this system trust, if there is one.
pub(super) fn system_authorities() -> Option<PathBuf> {
    let chosen = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    chosen.or_else(|| SYSTEM_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

#[cfg(test)]
mod tests {
    use super::super::authority::{Authority, Wish};
    use super::*;

    fn watch(path: &Path) -> Watched<Vec<u8>> {
        let own = path.to_owned();
        Watched::new(vec![path.to_owned()], move || {
            let bytes = read(&own)?;
            if bytes.starts_with(b"good") { Ok(bytes) } else { Err(FileError::new("bad")) }
        })
    }

    #[test]
    fn a_change_is_seen_at_the_next_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "good 1").unwrap();
        let watched = watch(&path);
        assert_eq!(*watched.current().unwrap(), b"good 1");
        // The same length within the same moment, and by renaming.
        std::fs::write(&path, "good 2").unwrap();
        assert_eq!(*watched.current().unwrap(), b"good 2");
        let other = dir.path().join("other");
        std::fs::write(&other, "good 3").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(*watched.current().unwrap(), b"good 3");
    }

    #[test]
    fn what_cannot_be_used_leaves_the_old_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "good").unwrap();
        let watched = watch(&path);
        for content in [Some("broken"), None] {
            match content {
                Some(content) => std::fs::write(&path, content).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            assert_eq!(*watched.current().unwrap(), b"good");
        }
        std::fs::write(&path, "good again").unwrap();
        assert_eq!(*watched.current().unwrap(), b"good again");
    }

    #[test]
    fn without_a_first_content_there_is_an_error_until_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let watched = watch(&path);
        let missing = format!("open {}: no such file or directory", path.display());
        assert_eq!(watched.current().unwrap_err().to_string(), missing);
        std::fs::write(&path, "good").unwrap();
        assert_eq!(*watched.current().unwrap(), b"good");
    }

    #[test]
    fn a_pair_that_is_none_is_refused_in_the_words_of_go() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let made = Authority::new("authority").issue(Wish::named("x"));
        let (cert, key) = (at("cert", &made.cert_pem), at("key", &made.key_pem));
        let (text, empty) = (at("text", "text"), at("empty", ""));
        assert!(read_pair(&cert, &key).is_ok());
        for (cert, key, error) in [
            (&text, &key, "tls: failed to find any PEM data in certificate input"),
            (&key, &key, "tls: failed to find \"CERTIFICATE\" PEM block in certificate input"),
            (&cert, &empty, "tls: failed to find any PEM data in key input"),
            (&cert, &cert, "tls: found a certificate rather than a key in the PEM for the private key"),
        ] {
            assert_eq!(read_pair(cert, key).unwrap_err().to_string(), error);
        }
        assert!(read_authorities(&text).unwrap_err().to_string().starts_with("no certificate in "));
    }
}

//! A log file that is put aside when it is full, as the library of etcd does it (`--enable-log-rotation`).
//!
//! ```text
//! etcd.log                              the file that is written
//! etcd-2026-01-31T23-59-58.123.log      put aside at that time, in UTC
//! etcd-2026-01-31T23-59-58.123.log.gz   ... and compressed
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{format, since_epoch};

const MEGABYTE: u64 = 1 << 20;
/// The size of a file where none is set, in megabytes.
const SIZE_DEFAULT: u64 = 100;
const DAY: Duration = Duration::from_hours(24);

/// What is done with full files: `--log-rotation-config-json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes from which a file is full.
    pub bytes_max: u64,
    /// How long files that were put aside are kept; zero is for ever.
    pub age_max: Duration,
    /// How many of them are kept; zero is all.
    pub backups_max: usize,
    /// Whether they are compressed.
    pub compress: bool,
}

impl Rotation {
    /// The settings with their defaults: megabytes, days, a number.
    pub fn new(megabytes: u64, days: u64, backups_max: usize, compress: bool) -> Self {
        let megabytes = if megabytes == 0 { SIZE_DEFAULT } else { megabytes };
        Self {
            bytes_max: megabytes.saturating_mul(MEGABYTE),
            age_max: DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)),
            backups_max,
            compress,
        }
    }
}

/// The file, which changes under the hands of its writer.
pub(super) struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    bytes: u64,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, rotation: &Rotation) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), rotation: rotation.clone(), file, bytes })
    }

    /// Puts the file aside, begins a new one, and removes what is too much.
    fn rotate(&mut self) -> io::Result<()> {
        let aside = self.backup_path();
        fs::rename(&self.path, &aside)?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.bytes = 0;
        if self.rotation.compress {
            compress(&aside)?;
        }
        self.clean_up()
    }

    fn backup_path(&self) -> PathBuf {
        let (stem, extension) = self.name_parts();
        let time = format::file_timestamp(since_epoch());
        self.path.with_file_name(format!("{stem}-{time}{extension}"))
    }

    /// The name before its last dot, and the rest with the dot.
    fn name_parts(&self) -> (String, String) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.rfind('.') {
            Some(dot) => (name[..dot].to_owned(), name[dot..].to_owned()),
            None => (name, String::new()),
        }
    }

    /// What was put aside before, the newest first.
    fn backups(&self) -> io::Result<Vec<PathBuf>> {
        let (stem, extension) = self.name_parts();
        let compressed = format!("{extension}.gz");
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut backups = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let time = name
                .strip_prefix(&format!("{stem}-"))
                .and_then(|rest| rest.strip_suffix(&compressed).or_else(|| rest.strip_suffix(&extension)));
            if time.is_some_and(format::is_file_timestamp) {
                backups.push(dir.join(name));
            }
        }
        backups.sort_unstable();
        backups.reverse();
        Ok(backups)
    }

    fn clean_up(&self) -> io::Result<()> {
        let now = SystemTime::now();
        for (number, path) in self.backups()?.into_iter().enumerate() {
            let is_one_too_many = self.rotation.backups_max > 0 && number >= self.rotation.backups_max;
            let age = now.duration_since(fs::metadata(&path)?.modified()?).unwrap_or_default();
            let is_old = !self.rotation.age_max.is_zero() && age > self.rotation.age_max;
            if is_one_too_many || is_old {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + bytes.len() as u64 > self.rotation.bytes_max {
            // A file that cannot be put aside is written on: lines are worth more than its size.
            let _ = self.rotate();
        }
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Replaces a file by its compressed form.
fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let mut encoder = GzEncoder::new(File::create(&name)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_aside_and_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        let rotation = Rotation { bytes_max: 10, ..Rotation::new(1, 0, 0, true) };
        let mut file = RotatingFile::open(&path, &rotation).unwrap();
        file.write_all(b"12345678\n").unwrap();
        file.write_all(b"second\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
        let names = names(dir.path());
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0].starts_with("etcd-2") && names[0].ends_with(".log.gz"), "{names:?}");
        let mut text = String::new();
        let compressed = File::open(dir.path().join(&names[0])).unwrap();
        flate2::read::GzDecoder::new(compressed).read_to_string(&mut text).unwrap();
        assert_eq!(text, "12345678\n");
    }

    #[test]
    fn only_so_many_files_are_kept_and_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        for name in
            ["etcd-old.log", "etcd-2020-01-01T00-00-00.000.log", "etcd-2021-01-01T00-00-00.000.log.gz"]
        {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let rotation = Rotation { bytes_max: 4, ..Rotation::new(1, 0, 2, false) };
        let mut file = RotatingFile::open(&path, &rotation).unwrap();
        file.write_all(b"one\n").unwrap();
        file.write_all(b"two\n").unwrap();
        let names = names(dir.path());
        assert!(!names.contains(&"etcd-2020-01-01T00-00-00.000.log".to_owned()), "{names:?}");
        assert!(names.contains(&"etcd-2021-01-01T00-00-00.000.log.gz".to_owned()), "{names:?}");
        assert!(names.contains(&"etcd-old.log".to_owned()), "{names:?}");
        assert_eq!(names.len(), 4, "{names:?}");
    }

    #[test]
    fn a_file_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain");
        fs::write(&path, "12345").unwrap();
        let rotation = Rotation { bytes_max: 6, ..Rotation::new(0, 0, 0, false) };
        let mut file = RotatingFile::open(&path, &rotation).unwrap();
        file.write_all(b"67").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "67");
        assert_eq!(Rotation::new(0, 0, 0, false).bytes_max, 100 << 20);
    }
}

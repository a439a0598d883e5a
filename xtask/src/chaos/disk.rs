//! Folders of members that can run full: small file systems in memory, where the system permits to mount them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// The size of a member's file system. Two segments of etcd's log take 128 MB.
const MEGABYTES: u64 = 384;

/// The folder of one member.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Makes the folder, on a small file system of its own if that is permitted.
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={MEGABYTES}m"), "tmpfs"])
            .arg(&path)
            .stderr(Stdio::null())
            .status();
        let is_mounted = mount.is_ok_and(|status| status.success());
        Ok(Self { path, is_mounted })
    }

    /// Whether it can run full.
    pub(super) fn is_small(&self) -> bool {
        self.is_mounted
    }

    /// Where the member keeps its data.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Forgets the member's data.
    pub(super) fn wipe(&self) -> Result<()> {
        remove(&self.data())
    }

    /// Takes all space that is left.
    pub(super) fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.filler())?;
        let mut size = 1 << 20;
        let bytes = vec![1; size];
        while size > 0 {
            match file.write(&bytes[..size]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
                Err(error) => return Err(error).context("filling a disk"),
            }
        }
        Ok(())
    }

    /// Gives back what [`Disk::fill`] took.
    pub(super) fn free(&self) -> Result<()> {
        std::fs::remove_file(self.filler()).context("freeing a disk")
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Copies the data to where it stays when the file system is gone.
    pub(super) fn save(&self, to: &Path) -> Result<()> {
        if self.data().exists() { copy(&self.data(), to) } else { Ok(()) }
    }

    /// Puts back data that was copied.
    pub(super) fn restore(&self, from: &Path) -> Result<()> {
        self.wipe()?;
        copy(from, &self.data())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status()?;
    ensure!(status.success(), "copying data: {status}");
    Ok(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // What is still open keeps a plain unmount from working.
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
    }
}

fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("wiping data"),
        Ok(()) | Err(_) => Ok(()),
    }
}

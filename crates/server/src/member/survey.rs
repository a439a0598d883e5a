//! A look at the data directory before anything is done there: what is not as it should be is said, and the start goes
//! on, as it does in etcd.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::log;

/// Names of what a member, and the making of certificates, put there.
const KNOWN: [&str; 2] = ["member", "fixtures"];

/// Warns of names that do not belong there, and of a directory that others may read.
pub(crate) fn look(data_dir: &Path) {
    let Ok(entries) = std::fs::read_dir(data_dir) else { return };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let data_dir_text = data_dir.display().to_string();
    for name in names.iter().filter(|name| !KNOWN.contains(&name.as_str())) {
        log!(
            Warn, "found invalid file under data directory",
            "filename" => name.as_str(), "data-dir" => data_dir_text.as_str()
        );
    }
    let Ok(meta) = std::fs::metadata(data_dir) else { return };
    let mode = meta.permissions().mode() & 0o777;
    if mode != 0o700 {
        let error = format!(
            "directory {data_dir_text:?} exist, but the permission is {:?}. The recommended permission is \
             \"-rwx------\" to prevent possible unprivileged access to the data",
            format!("d{}", letters(mode))
        );
        log!(Warn, "check file permission", "error" => error);
    }
}

/// A mode as `ls` writes it, without the kind of file.
fn letters(mode: u32) -> String {
    (0..9).map(|bit| if mode & (0o400 >> bit) != 0 { ['r', 'w', 'x'][bit % 3] } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_by_ls() {
        assert_eq!(letters(0o700), "rwx------");
        assert_eq!(letters(0o755), "rwxr-xr-x");
        assert_eq!(letters(0o641), "rw-r----x");
    }
}

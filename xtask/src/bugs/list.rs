//! The planted faults.

/// A fault.
pub(super) struct Bug {
    /// What stands in `cfg!(bug = "name")`.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) what: &'static str,
    pub(super) hunter: Hunter,
}

/// Who has to find it.
pub(super) enum Hunter {
    /// A simulator of `etched-sim`, by the name that its example `hunt` knows.
    Simulator(&'static str),
    /// A test of a build of its own below `crates/sim`.
    Test,
}

const STORAGE: Hunter = Hunter::Simulator("storage");

const fn bug(name: &'static str, hunter: Hunter, what: &'static str) -> Bug {
    Bug { name, what, hunter }
}

/// All of them.
pub(super) const BUGS: [Bug; 15] = [
    bug("log-answers-before-sync", STORAGE, "the log answers before its batch is synced"),
    bug("log-loses-the-vote", STORAGE, "a new segment does not repeat the hard state"),
    bug("log-leaves-the-name-unsynced", STORAGE, "a new segment's name is not synced"),
    bug("log-releases-what-is-needed", STORAGE, "the log lets go what the snapshot does not stand for"),
    bug(
        "log-reuses-what-can-come-back",
        STORAGE,
        "a released segment is overwritten before its name is gone",
    ),
    bug("log-keeps-the-torn-tail", STORAGE, "a torn tail is not zeroed before the log goes on"),
    bug("log-trusts-what-it-reads", STORAGE, "what a killed process left unsynced is taken for synced"),
    bug("log-cuts-off-synced-records", STORAGE, "a zeroed sector before synced records is taken for a tear"),
    bug("snapshot-file-is-not-synced", STORAGE, "a snapshot file gets its name before it is synced"),
    bug("backend-does-not-sync", STORAGE, "a synced commit is not synced"),
    bug("backend-commits-the-index-apart", STORAGE, "the applied index is committed before what was applied"),
    bug("backend-is-created-in-place", STORAGE, "the backend's file has its name while it is made"),
    bug("backend-opens-without-syncs", STORAGE, "the repairs of an opening are not synced"),
    bug("backend-believes-records", STORAGE, "the checksum of a record is not looked at"),
    bug("redb-4-1", Hunter::Test, "redb 4.1.0 rolls a commit back when it crashes while it recovers"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;
    use std::path::Path;

    /// The names that stand in the code.
    fn planted(dir: &Path, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                planted(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let found = text.split("(bug = \"").skip(1).filter_map(|rest| rest.split('"').next());
                names.extend(found.map(str::to_owned));
            }
        }
    }

    #[test]
    fn the_list_and_the_code_know_the_same_faults() {
        let mut names = Vec::new();
        planted(&workspace::root().join("crates"), &mut names);
        names.sort();
        names.dedup();
        let mut listed: Vec<_> = BUGS
            .iter()
            .filter(|bug| matches!(bug.hunter, Hunter::Simulator(_)))
            .map(|bug| bug.name.to_owned())
            .collect();
        listed.sort();
        assert_eq!(names, listed);
    }
}

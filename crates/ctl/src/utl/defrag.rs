//! `defrag`: rewrites the database of a stopped member without gaps.

use etched_backend::{Backend as _, RedbBackend, RedbOptions, Table};
use etched_disk::{Disk as _, RealDisk};

use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::text::size;
use crate::utl::log::say;
use crate::utl::stored::{Stored, check_exists, of_data_dir};
use crate::utl::{copy, failed, patience};

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let data_dir = args.text("data-dir");
    defrag(args).map_err(|failure| {
        let text = format!("Failed to defragment etcd data[{data_dir}] ({})", failure.message);
        Failure::new(Exit::Request, text)
    })
}

fn defrag(args: &Args) -> Result<(), Failure> {
    let path = of_data_dir(args.text("data-dir").as_ref());
    check_exists(&path)?;
    let disk = RealDisk::new();
    let temporary = path.with_file_name("db.defragmenting");
    copy::remove_leftover(&temporary)?;
    let before = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    say!("info", "defragmenting", "path" => path.display().to_string(), "current-db-size-bytes" => before, "current-db-size" => size::humanize(before));
    // Whatever keeps others away is held until the new file is in its place.
    let stored = Stored::open(&path, "reading", patience(args))?;
    match &stored {
        Stored::Bolt { view, .. } => {
            let file = disk.create(&temporary).map_err(failed)?;
            copy::bolt_to_bolt(view.file(), &*file)?;
        }
        Stored::Redb { backend, view } => {
            let target: RedbBackend =
                backend.create_beside(&disk, &temporary, RedbOptions::default()).map_err(failed)?;
            copy::tables(&**view, &Table::ALL, &target)?;
            target.sizes().map_err(failed)?;
        }
    }
    copy::rename(&temporary, &path)?;
    drop(stored);
    let after = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    say!("info", "finished defragmenting directory", "path" => path.display().to_string(), "current-db-size-bytes" => after, "current-db-size" => size::humanize(after));
    Ok(())
}

//! The output formats of `-w`.

use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::text::boxes;

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Simple,
    Fields,
    Json,
    Protobuf,
    Table,
}

/// One cell of an answer.
pub(crate) struct Cell {
    /// The heading of its column.
    pub(crate) heading: &'static str,
    /// As people read it.
    pub(crate) shown: String,
    /// Its name in the format `fields`, and its value there.
    pub(crate) field: (&'static str, String),
    /// Its name in JSON, and its value there.
    pub(crate) json: (&'static str, String),
}

impl Format {
    /// The format that was asked for.
    pub(crate) fn of(args: &Args) -> Result<Self, Failure> {
        match args.text("write-out") {
            "" | "simple" if !args.is_given("write-out") || args.text("write-out") == "simple" => {
                Ok(Self::Simple)
            }
            "fields" => Ok(Self::Fields),
            "json" => Ok(Self::Json),
            "protobuf" => Ok(Self::Protobuf),
            "table" => Ok(Self::Table),
            _ => Err(Failure::new(Exit::Unsupported, "unsupported output format")),
        }
    }

    /// Prints an answer of one row.
    pub(crate) fn print(self, cells: &[Cell]) -> Result<(), Failure> {
        let shown = || cells.iter().map(|cell| cell.shown.clone()).collect::<Vec<_>>();
        match self {
            Self::Simple => println!("{}", shown().join(", ")),
            Self::Fields => {
                for Cell { field: (name, value), .. } in cells {
                    println!("\"{name}\" : {value}");
                }
            }
            Self::Json => {
                let members: Vec<_> = cells
                    .iter()
                    .map(|Cell { json: (name, value), .. }| format!("\"{name}\":{value}"))
                    .collect();
                println!("{{{}}}", members.join(","));
            }
            Self::Table => {
                let headings: Vec<_> = cells.iter().map(|cell| cell.heading).collect();
                print!("{}", boxes::draw(&headings, std::iter::once(shown())));
            }
            Self::Protobuf => {
                return Err(Failure::new(Exit::Unsupported, "protobuf not supported as output format"));
            }
        }
        Ok(())
    }
}

//! The environment: `ETCD_FOO_BAR` for `--foo-bar`, where the command line says nothing.

use super::old::OLD;
use super::table::{FLAGS, Flag};
use super::typed::{Origin, Typed};
use super::{Notice, Problem};
use crate::logging::Level;

/// Adds what stands in the environment to what was typed.
///
/// # Errors
///
/// When a value is not of the right form, the command line contradicts a variable, or a variable asks for what is
/// not there yet.
pub(super) fn merge(
    typed: &mut Typed,
    variables: &[(String, String)],
    notices: &mut Vec<Notice>,
) -> Result<(), Problem> {
    let mut flags: Vec<&'static Flag> = FLAGS.iter().collect();
    flags.sort_by_key(|flag| flag.name);
    let mut shadowed = None;
    for flag in flags {
        let variable = flag.variable();
        let value = variables.iter().find(|(name, value)| *name == variable && !value.is_empty());
        let Some((_, value)) = value else { continue };
        if typed.origin(flag.name) == Some(Origin::CommandLine) {
            shadowed = shadowed.or(Some(variable));
            continue;
        }
        flag.check(value)
            .map_err(|error| Problem::Verify(format!("invalid value {value:?} for {variable}: {error}")))?;
        typed.set(flag, value, Origin::Environment);
        let fields = vec![("variable-name", variable.into()), ("variable-value", value.into())];
        notices.push(Notice::new(Level::Info, "recognized and used environment variable", fields));
    }
    merge_old(typed, variables, notices);
    warn_of_unknown(variables, notices);
    shadowed.map_or(Ok(()), |variable| Err(Problem::Shadowed(variable)))
}

/// Variables of flags of earlier releases; etcd ignores them, so a value that cannot be is no reason to refuse.
fn merge_old(typed: &mut Typed, variables: &[(String, String)], notices: &mut Vec<Notice>) {
    for old in OLD {
        let variable = old.variable();
        let value = variables.iter().find(|(name, value)| *name == variable && !value.is_empty());
        let Some((_, value)) = value else { continue };
        if let Err(error) = old.check(value) {
            let fields = vec![("environment-variable", variable.into()), ("error", error.into())];
            notices.push(Notice::new(Level::Warn, "ignoring the variable of a removed flag", fields));
            continue;
        }
        typed.set_old(old, value, Origin::Environment);
    }
}

fn warn_of_unknown(variables: &[(String, String)], notices: &mut Vec<Notice>) {
    let ours = variables.iter().filter(|(name, _)| name.starts_with("ETCD_"));
    let is_known = |name: &str| {
        FLAGS.iter().any(|flag| flag.variable() == name) || OLD.iter().any(|old| old.variable() == name)
    };
    for (name, value) in ours.filter(|(name, _)| !is_known(name)) {
        let notice = if name == "ETCD_VERSION" {
            // Container images export it; it is not the flag --version.
            let fields = vec![("key", name.into()), ("value", value.into())];
            Notice::new(Level::Warn, "cannot set special environment variable", fields)
        } else {
            let fields = vec![("environment-variable", format!("{name}={value}").into())];
            Notice::new(Level::Warn, "unrecognized environment variable", fields)
        };
        notices.push(notice);
    }
}

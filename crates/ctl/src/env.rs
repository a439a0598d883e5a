//! The environment: `ETCDCTL_X_Y` stands for the flag `--x-y`.

use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::log;
use crate::spec::GLOBAL_FLAGS;
use crate::table::Flag;

const PREFIX: &str = "ETCDCTL_";

/// What `watch` reads instead of its arguments: the key, and the end of the range.
pub(crate) const WATCH_VARIABLES: [&str; 2] = ["ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"];

/// The variable of a flag.
pub(crate) fn name_of(flag: &Flag) -> String {
    format!("{PREFIX}{}", flag.name.replace('-', "_").to_uppercase())
}

/// Takes the values of flags that were not given from the environment. The texts are warnings for standard error.
///
/// # Errors
///
/// A flag may not be given both ways.
pub(crate) fn apply(
    args: &mut Args,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    for (name, value) in variables.filter(|(name, _)| name.starts_with(PREFIX)) {
        match GLOBAL_FLAGS.iter().find(|flag| name_of(flag) == name) {
            None => {
                let variable = format!("{name}={value}");
                let fields = [("environment-variable", variable.as_str())];
                warnings.push(log::line("warn", "unrecognized environment variable", &fields));
            }
            Some(_) if value.is_empty() => {}
            Some(flag) if args.is_given(flag.name) => {
                let text = "conflicting environment variable is shadowed by corresponding command-line flag \
                            (either unset environment variable or disable flag))";
                eprintln!("{}", log::line("fatal", text, &[("environment-variable", &name)]));
                return Err(Failure::silent(Exit::Request));
            }
            Some(flag) => args.set_default(flag, value),
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(given: &[&str], variables: &[(&str, &str)]) -> (Args, Result<Vec<String>, Failure>) {
        let words: Vec<_> = given.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut args = Args::parse(&[GLOBAL_FLAGS], &words).unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let result = apply(&mut args, variables);
        (args, result)
    }

    #[test]
    fn variables_stand_in_for_flags() {
        let (args, result) =
            applied(&[], &[("ETCDCTL_WRITE_OUT", "json"), ("ETCDCTL_HEX", "true"), ("PATH", "/")]);
        assert!(result.unwrap().is_empty());
        assert!(args.bool("hex") && args.text("write-out") == "json");
    }

    #[test]
    fn values_that_cannot_be_read_are_passed_over() {
        let (args, result) = applied(&[], &[("ETCDCTL_HEX", "bogus"), ("ETCDCTL_USER", "")]);
        assert!(result.is_ok() && !args.is_given("hex") && !args.is_given("user"));
    }

    #[test]
    fn a_flag_may_not_be_given_both_ways() {
        let (_, result) = applied(&["--hex"], &[("ETCDCTL_HEX", "true")]);
        assert_eq!(result.unwrap_err().exit, Exit::Request);
    }

    #[test]
    fn unknown_variables_are_warned_about() {
        let (_, result) = applied(&[], &[("ETCDCTL_API", "3")]);
        let warning = result.unwrap().remove(0);
        assert!(warning.ends_with(
            r#""msg":"unrecognized environment variable","environment-variable":"ETCDCTL_API=3"}"#
        ));
    }
}

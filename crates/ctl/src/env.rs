//! The environment: `ETCDCTL_X_Y` stands for the flag `--x-y`.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::spec::{Flag, GLOBAL_FLAGS};

const PREFIX: &str = "ETCDCTL_";

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
                warnings.push(log_line("warn", "unrecognized environment variable", &variable));
            }
            Some(_) if value.is_empty() => {}
            Some(flag) if args.is_given(flag.name) => {
                let text = "conflicting environment variable is shadowed by corresponding command-line flag \
                            (either unset environment variable or disable flag))";
                eprintln!("{}", log_line("fatal", text, &name));
                return Err(Failure::silent(Exit::Request));
            }
            Some(flag) => args.set_default(flag, value),
        }
    }
    Ok(warnings)
}

/// A line in the form of etcd's own log.
fn log_line(level: &str, message: &str, variable: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = timestamp(since.as_secs(), since.subsec_micros());
    let variable = crate::output::json::string(variable);
    format!(r#"{{"level":"{level}","ts":"{time}","msg":"{message}","environment-variable":{variable}}}"#)
}

/// A point in time, in UTC.
fn timestamp(seconds: u64, micros: u32) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from March 1st of the year 0, so that the leap day is the last one of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
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

    #[test]
    fn points_in_time_are_written_in_utc() {
        assert_eq!(timestamp(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(timestamp(951_782_399, 5), "2000-02-28T23:59:59.000005Z");
        assert_eq!(timestamp(951_782_400, 0), "2000-02-29T00:00:00.000000Z");
        assert_eq!(timestamp(1_795_604_493, 146_602), "2026-11-25T11:01:33.146602Z");
    }
}

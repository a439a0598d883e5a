//! `watch`: prints changes, or runs a command for each of them; one watch from the arguments, or many from
//! standard input.

use std::rc::Rc;

use etched_client::{Client, Error, Keys, WatchNotice, WatchOptions};
use etched_proto::etcdserverpb::ResponseHeader;
use etched_proto::mvccpb::Event;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::child::{not_started, os_words, status_text};
use super::{Context, write};
use crate::args::Args;
use crate::env::WATCH_VARIABLES;
use crate::failure::{Exit, Failure, text_of};
use crate::output::{Answer, WatchAnswer, event_name};
use crate::spec::WATCH_FLAGS;
use crate::text::quote::quote;
use crate::text::words;

/// What to watch, and the command to run for each change; empty if there is none.
struct Request {
    options: WatchOptions,
    exec: Vec<Vec<u8>>,
}

pub(super) async fn watch(context: Context) -> Result<(), Failure> {
    let environment = Environment::of(|name| std::env::var_os(name).map(os_bytes))?;
    let request =
        if context.args.bool("interactive") { None } else { Some(request_of(&context.args, &environment)?) };
    let mut options = context.options()?;
    options.request_timeout = None;
    options.require_leader = true;
    let client = super::connect(&context.endpoints, options).await?;
    let Some(request) = request else {
        return LocalSet::new().run_until(interactive(Rc::new(context), client, environment)).await;
    };
    let (_never_asked, progress) = watch::channel(());
    follow(&context, &client, request, progress).await?;
    Err(Failure::new(Exit::Interrupted, "watch is canceled by the server"))
}

fn os_bytes(text: std::ffi::OsString) -> Vec<u8> {
    std::os::unix::ffi::OsStringExt::into_vec(text)
}

/// The keys to watch that the environment names, for the command line and for all lines of the interactive mode.
#[derive(Debug, Default)]
struct Environment {
    key: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
}

impl Environment {
    fn of(variable: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Self, Failure> {
        let [key, end] = WATCH_VARIABLES.map(|name| variable(name).filter(|value| !value.is_empty()));
        match (&key, &end) {
            (None, Some(end)) => {
                let [key_name, end_name] = WATCH_VARIABLES;
                let text = format!("{key_name} is empty but got {end_name}={}", quote(end));
                Err(Failure::arguments(text))
            }
            (None, None) | (Some(_), _) => Ok(Self { key, end }),
        }
    }

    /// Whether arguments name a key that the environment names too.
    fn check(&self, args: &Args) -> Result<(), Failure> {
        if self.key.is_some() && !args.positional.is_empty() {
            return Err(Failure::arguments("bad number of arguments (found conflicting environment key)"));
        }
        Ok(())
    }
}

/// The watch that arguments, flags and environment ask for.
fn request_of(args: &Args, environment: &Environment) -> Result<Request, Failure> {
    let wrong = |why: &str| Failure::arguments(format!("bad number of arguments{why}"));
    check_separator(args)?;
    environment.check(args)?;
    let keys = match (environment.key.clone(), args.positional.as_slice()) {
        (Some(key), _) => (key, environment.end.clone()),
        (None, []) => return Err(wrong("")),
        (None, [key, rest @ ..]) => (key.clone(), rest.first().cloned()),
    };
    let keys = match keys {
        (_, Some(_)) if args.bool("prefix") => {
            return Err(Failure::arguments("`range_end` and `--prefix` are mutually exclusive"));
        }
        (key, Some(end)) => Keys::between(key, end),
        (key, None) if args.bool("prefix") => Keys::prefix(key),
        (key, None) => Keys::one(key),
    };
    let mut options = WatchOptions::new(keys).start_revision(args.int("rev"));
    if args.bool("prev-kv") {
        options = options.prev_kv();
    }
    if args.bool("progress-notify") {
        options = options.progress_notify();
    }
    Ok(Request { options, exec: args.separated.clone().unwrap_or_default() })
}

/// The separator `--` stands before a command to run.
fn check_separator(args: &Args) -> Result<(), Failure> {
    if args.separated.as_ref().is_some_and(Vec::is_empty) {
        return Err(Failure::arguments("bad number of arguments (found separator --, but no commands)"));
    }
    Ok(())
}

/// Prints what a watch receives until the server ends it. A change of `progress` is a question for the progress.
async fn follow(
    context: &Context,
    client: &Client,
    request: Request,
    mut progress: watch::Receiver<()>,
) -> Result<(), Failure> {
    let mut watch = match client.watch(request.options).await {
        Ok(watch) => watch,
        Err(error) => return canceled(context, &error, None),
    };
    loop {
        let notice = tokio::select! {
            notice = watch.next() => notice,
            Ok(()) = progress.changed() => {
                watch.request_progress();
                continue;
            }
        };
        match notice {
            Some(Ok(WatchNotice::Events { header, events })) => {
                let answer =
                    Answer::Watch(WatchAnswer { header: Some(header), events, ..WatchAnswer::default() });
                context.print(&answer)?;
                if let Answer::Watch(WatchAnswer { events, .. }) = answer
                    && !request.exec.is_empty()
                {
                    for event in events {
                        run_command(&request.exec, header.revision, &event).await?;
                    }
                }
            }
            Some(Ok(WatchNotice::Progress { header })) => {
                write(format!("progress notify: {}\n", header.revision).as_bytes())?;
                context
                    .print(&Answer::Watch(WatchAnswer { header: Some(header), ..WatchAnswer::default() }))?;
            }
            Some(Err(error)) => {
                let header = ResponseHeader { revision: 0, ..*watch.header() };
                return canceled(context, &error, Some(header));
            }
            None => return Ok(()),
        }
    }
}

/// Tells that the server ended a watch.
fn canceled(context: &Context, error: &Error, header: Option<ResponseHeader>) -> Result<(), Failure> {
    eprintln!("watch was canceled ({})", text_of(error));
    let compact_revision =
        if let Error::Compacted { compact_revision } = error { *compact_revision } else { 0 };
    let answer = WatchAnswer { header, events: Vec::new(), compact_revision, canceled: true };
    context.print(&Answer::Watch(answer))
}

/// Runs the command for a change, which it finds in its environment.
async fn run_command(exec: &[Vec<u8>], revision: i64, event: &Event) -> Result<(), Failure> {
    let words = os_words(exec);
    let kv = event.kv.clone().unwrap_or_default();
    let status = tokio::process::Command::new(&words[0])
        .args(&words[1..])
        .env("ETCD_WATCH_REVISION", revision.to_string())
        .env("ETCD_WATCH_EVENT_TYPE", quote(event_name(event).as_bytes()))
        .env("ETCD_WATCH_KEY", quote(&kv.key))
        .env("ETCD_WATCH_VALUE", quote(&kv.value))
        .status()
        .await;
    let why = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status_text(status),
        Err(error) => not_started(&exec[0], &error),
    };
    let shown: Vec<_> = exec.iter().map(|word| quote(word)).collect();
    eprintln!("command [{}] error ({why})", shown.join(" "));
    Err(Failure::silent(Exit::Request))
}

/// Reads watches, and questions for their progress, from standard input.
async fn interactive(context: Rc<Context>, client: Client, environment: Environment) -> Result<(), Failure> {
    let (ask_progress, progress) = watch::channel(());
    let (fail, mut failed) = mpsc::channel(1);
    let mut lines = stdin_lines();
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            Some(failure) = failed.recv() => return Err(failure),
        };
        let Some(line) = line else {
            return Err(Failure::new(Exit::Input, "error reading watch request line: EOF"));
        };
        match parse_line(&line, &environment)? {
            Line::Progress => {
                let _nobody_watches = ask_progress.send(());
            }
            Line::Nonsense(why) => eprintln!("{why}"),
            Line::Watch(request) => {
                let (context, client, fail, progress) =
                    (Rc::clone(&context), client.clone(), fail.clone(), progress.clone());
                tokio::task::spawn_local(async move {
                    if let Err(failure) = follow(&context, &client, request, progress).await {
                        let _already_failing = fail.send(failure).await;
                    }
                });
            }
        }
    }
}

/// A line of the interactive mode.
enum Line {
    Watch(Request),
    Progress,
    Nonsense(String),
}

fn parse_line(line: &[u8], environment: &Environment) -> Result<Line, Failure> {
    let shown = String::from_utf8_lossy(line);
    let words = words::split(line);
    match words.first().map(Vec::as_slice) {
        None => Ok(Line::Nonsense(format!("Invalid command: {shown} (watch and progress supported)"))),
        Some(b"progress") => Ok(Line::Progress),
        Some(b"watch") if words.len() == 1 && environment.key.is_none() => {
            Ok(Line::Nonsense(format!("Invalid command {shown} (command type or key is not provided)")))
        }
        Some(b"watch") => {
            let args = Args::parse(&[WATCH_FLAGS], &words[1..]).map_err(Failure::arguments)?;
            check_separator(&args)?;
            environment.check(&args)?;
            Ok(match request_of(&args, environment) {
                Ok(request) => Line::Watch(request),
                Err(why) => Line::Nonsense(format!("Invalid command {shown} ({})", why.message)),
            })
        }
        Some(_) => Ok(Line::Nonsense(format!("Invalid command {shown} (only support watch)"))),
    }
}

/// The lines of standard input, read by a thread because that cannot be given up half-way.
fn stdin_lines() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut line = Vec::new();
        while let Ok(1..) = std::io::BufRead::read_until(&mut input, b'\n', &mut line) {
            // What is left without an end of line at the end of the input is not a line.
            if line.pop_if(|byte| *byte == b'\n').is_none()
                || sender.blocking_send(std::mem::take(&mut line)).is_err()
            {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn request(line: &str) -> Result<Request, String> {
        let words: Vec<_> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        request_of(&Args::parse(&[WATCH_FLAGS], &words).unwrap(), &Environment::default())
            .map_err(|failure| failure.message)
    }

    #[test]
    fn keys_flags_and_command_are_told_apart() {
        let Ok(watch) = request("--prev-kv a b -- echo --prefix") else { panic!() };
        assert_eq!(watch.options, WatchOptions::new(Keys::between("a", "b")).prev_kv());
        assert_eq!(watch.exec, [b"echo".as_slice(), b"--prefix"]);
        let Ok(watch) = request("a --prefix --rev 3") else { panic!() };
        assert_eq!(watch.options, WatchOptions::new(Keys::prefix("a")).start_revision(3));
        assert!(watch.exec.is_empty());
    }

    #[test]
    fn wrong_arguments_are_told() {
        let message = |line| request(line).err().unwrap();
        assert_eq!(message(""), "bad number of arguments");
        assert_eq!(message("a --"), "bad number of arguments (found separator --, but no commands)");
        assert_eq!(message("-- echo"), "bad number of arguments");
        assert_eq!(message("a b --prefix"), "`range_end` and `--prefix` are mutually exclusive");
    }

    #[test]
    fn keys_come_from_the_environment_or_from_the_arguments() {
        let args = Args::parse(&[WATCH_FLAGS], &[]).unwrap();
        let named = |names: &[(&str, &str)]| {
            let names: BTreeMap<_, _> = names.iter().copied().collect();
            Environment::of(|name| names.get(name).map(|value| value.as_bytes().to_vec()))
        };
        let both = named(&[("ETCDCTL_WATCH_KEY", "a"), ("ETCDCTL_WATCH_RANGE_END", "b")]).unwrap();
        let Ok(watch) = request_of(&args, &both) else { panic!() };
        assert_eq!(watch.options, WatchOptions::new(Keys::between("a", "b")));
        let args = Args::parse(&[WATCH_FLAGS], &[b"k".to_vec()]).unwrap();
        let key = named(&[("ETCDCTL_WATCH_KEY", "a"), ("ETCDCTL_WATCH_RANGE_END", "")]).unwrap();
        let failure = request_of(&args, &key).err().unwrap();
        assert_eq!(failure.message, "bad number of arguments (found conflicting environment key)");
        let end = named(&[("ETCDCTL_WATCH_RANGE_END", "b")]).unwrap_err();
        assert_eq!(end.message, r#"ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END="b""#);
        assert_eq!(end.exit, Exit::Arguments);
    }

    #[test]
    fn lines_may_leave_the_key_to_the_environment() {
        let key = Environment { key: Some(b"a".to_vec()), end: None };
        for line in ["watch", "watch --rev 3 -- echo hi"] {
            let Ok(Line::Watch(request)) = parse_line(line.as_bytes(), &key) else { panic!("{line}") };
            let rev = if line.len() > 5 { 3 } else { 0 };
            assert_eq!(request.options, WatchOptions::new(Keys::one("a")).start_revision(rev));
        }
        let failure = parse_line(b"watch b", &key).err().unwrap();
        assert_eq!(failure.message, "bad number of arguments (found conflicting environment key)");
    }

    #[test]
    fn lines_are_watches_or_progress_or_nonsense() {
        let parse_line = |line: &[u8]| parse_line(line, &Environment::default());
        let nonsense = |line: &str| match parse_line(line.as_bytes()) {
            Ok(Line::Nonsense(why)) => why,
            Ok(Line::Watch(_) | Line::Progress) | Err(_) => panic!("{line}"),
        };
        assert!(matches!(parse_line(b"progress x"), Ok(Line::Progress)));
        assert!(matches!(parse_line(b"watch \"w 1\" b --rev 1"), Ok(Line::Watch(_))));
        assert_eq!(nonsense("put x"), "Invalid command put x (only support watch)");
        assert_eq!(nonsense(""), "Invalid command:  (watch and progress supported)");
        assert_eq!(
            nonsense("watch a b --prefix"),
            "Invalid command watch a b --prefix (`range_end` and `--prefix` are mutually exclusive)"
        );
        assert!(parse_line(b"watch a --").err().unwrap().message.starts_with("bad number of arguments"));
        assert_eq!(nonsense("watch"), "Invalid command watch (command type or key is not provided)");
        assert_eq!(parse_line(b"watch a --bogus").err().unwrap().message, "unknown flag: --bogus");
    }
}

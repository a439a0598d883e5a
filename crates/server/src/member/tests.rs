//! The member with its threads, on a real disk, without a socket.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use etched_key_range::KeyRange;
use etched_replica::Caller;
use etched_state_machine::{Command, Compact, Put, Range, RangeQuery};

use super::inbox::Control;
use super::*;
use crate::api::{
    Answer, Api, ApiError, Completion, Credentials, Delivery, Front, FrontId, Request, Submission, Token,
};
use crate::flags;
use crate::metrics::Metrics;

/// How long a member may take for what takes it a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// A front that keeps what it is given.
#[derive(Default)]
struct Kept {
    completions: Mutex<Vec<Completion>>,
    changed: Condvar,
}

impl Front for Kept {
    fn complete(&self, completions: Vec<Completion>) {
        self.completions.lock().unwrap().extend(completions);
        self.changed.notify_all();
    }

    fn deliver(&self, _: Vec<Delivery>) {}
}

impl Kept {
    /// The completions when there are that many, in the order of their tokens.
    fn wait_for(&self, count: usize) -> Vec<Completion> {
        let completions = self.completions.lock().unwrap();
        let too_few = |completions: &mut Vec<Completion>| completions.len() < count;
        let (mut completions, _) = self.changed.wait_timeout_while(completions, PATIENCE, too_few).unwrap();
        completions.sort_by_key(|completion| completion.token);
        completions.clone()
    }
}

struct Started {
    member: RunningMember,
    front: Arc<Kept>,
    id: FrontId,
}

impl Started {
    fn new(dir: &Path) -> Self {
        let arguments = [format!("--data-dir={}", dir.display())];
        let options = flags::load("etched", &arguments, &[]).expect("the flags are fine").options;
        let doorman = Arc::new(crate::auth::Doorman::new(&options).unwrap());
        let member = start(&options, Arc::new(Metrics::new(false)), None, doorman).unwrap();
        assert_eq!(member.wait_until_ready(PATIENCE), Readiness::Ready);
        let front = Arc::new(Kept::default());
        let id = member.handle.register(Arc::<Kept>::clone(&front));
        Self { member, front, id }
    }

    fn submit(&self, requests: impl IntoIterator<Item = Request>, first: u64) -> usize {
        let request = |(number, request)| Submission::Request {
            token: Token(number),
            credentials: Credentials::Anonymous,
            request,
            wants_phases: false,
        };
        let submissions: Vec<Submission> = (first..).zip(requests).map(request).collect();
        let count = submissions.len();
        self.member.handle.submit(self.id, submissions);
        count
    }
}

fn put(number: usize) -> Request {
    let (key, value) = (format!("k{number:06}").into(), "value".into());
    Request::Propose(Command::Put(Put { key, value, ..Put::default() }))
}

fn everything() -> Vec<Request> {
    vec![
        put(0),
        Request::Range(Range::new(RangeQuery::new(KeyRange::all()))),
        Request::Hash,
        Request::HashKv { revision: 0 },
        Request::Propose(Command::Compact(Compact { revision: 1_000, physical: true })),
        Request::Barrier,
        Request::Members { linearizable: true },
        put(1),
    ]
}

fn assert_each_once(completions: &[Completion], count: usize) {
    let tokens: Vec<u64> = completions.iter().map(|completion| completion.token.0).collect();
    assert_eq!(tokens, (0..count as u64).collect::<Vec<_>>());
}

/// Whoever waited for a hash, a large range or a compaction when the member had flushed was never answered.
#[test]
fn every_request_is_completed_once_when_the_member_stops() {
    let dir = tempfile::tempdir().unwrap();
    let started = Started::new(dir.path());
    let mut count = started.submit((0..20_000).map(put), 0);
    started.front.wait_for(count);
    count += started.submit(everything(), count as u64);
    started.member.handle.stop();
    count += started.submit(everything(), count as u64);
    let Started { member, front, .. } = started;
    member.join().unwrap();
    assert_each_once(&front.wait_for(count), count);
}

/// The member's end was not told to who waited for it to become ready: the process neither served nor ended.
#[test]
fn a_failure_ends_the_member_and_everybody_learns_it() {
    let dir = tempfile::tempdir().unwrap();
    let started = Started::new(dir.path());
    let handle = Arc::clone(&started.member.handle);
    handle.inbox.push_control(Control::Fatal("the disk is gone".into()));
    let count = started.submit(everything(), 0);
    let readiness = started.member.wait_until_ready(PATIENCE);
    assert_eq!(readiness, Readiness::Ended, "it was ready, but will not be again");
    let later = started.submit(everything(), count as u64);
    let Started { member, front, .. } = started;
    assert_eq!(member.join().unwrap_err().to_string(), "the disk is gone");
    let completions = front.wait_for(count + later);
    assert_each_once(&completions, count + later);
    let last = completions.last().map(|last| last.result.clone());
    assert!(matches!(last, Some(Err(ApiError::Stopped))), "{last:?}");
}

/// The backend's thread outlived the member, and with it the lock of the backend.
#[test]
fn a_member_can_start_again_as_soon_as_it_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let started = Started::new(dir.path());
        let count = started.submit([Request::Barrier, put(round)], 0);
        let completions = started.front.wait_for(count);
        let revisions = 2 + i64::try_from(round).unwrap();
        assert!(
            matches!(&completions[..], [_, Completion { revision, result: Ok(_), .. }] if *revision == revisions),
            "{completions:?}"
        );
        started.member.handle.stop();
        started.member.join().unwrap();
    }
}

#[test]
fn hashes_beyond_the_bound_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let started = Started::new(dir.path());
    let count = started.submit((0..1_000).map(|_| Request::Hash), 0);
    let completions = started.front.wait_for(count);
    assert_each_once(&completions, count);
    let refused = completions
        .iter()
        .filter(|completion| matches!(completion.result, Err(ApiError::TooManyRequests)))
        .count();
    let computed =
        completions.iter().filter(|completion| matches!(completion.result, Ok(Answer::Hash(_)))).count();
    assert_eq!((refused + computed, refused > 0), (count, true));
    let again = started.submit([Request::Hash], count as u64);
    let last = started.front.wait_for(count + again).pop().map(|last| last.result);
    assert!(matches!(last, Some(Ok(Answer::Hash(_)))), "{last:?}");
    started.member.handle.stop();
    started.member.join().unwrap();
}

/// A damaged record that a hash met was told to its caller alone, and the member went on with it.
#[test]
fn a_failure_told_beside_an_answer_does_not_swallow_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let started = Started::new(dir.path());
    let caller = Caller { front: started.id.0 as u64, token: 0 };
    let inbox = &started.member.handle.inbox;
    inbox.push_control(Control::Answered { caller, result: Err(ApiError::Storage("damaged".into())) });
    inbox.push_control(Control::Fatal("a hash cannot be computed".into()));
    let completions = started.front.wait_for(1);
    assert!(matches!(&completions[..], [Completion { result: Err(ApiError::Storage(_)), .. }]));
    assert!(started.member.join().is_err());
}

/// While too much waits for the backend only commands are held back: a lease would run out while its renewal waits.
#[test]
fn what_is_held_back_for_a_slow_backend_is_done_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let started = Started::new(dir.path());
    let value = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let large = |number: usize| {
        let key = format!("k{number}").into();
        Request::Propose(Command::Put(Put { key, value: value.clone(), ..Put::default() }))
    };
    let mut count = 0;
    for _ in 0..2 {
        count += started.submit((0..70).map(large), count as u64);
        started.front.wait_for(count);
    }
    for round in 0..20 {
        count += started.submit([put(round), Request::Leases, Request::Barrier], count as u64);
    }
    let completions = started.front.wait_for(count);
    assert_each_once(&completions, count);
    assert!(completions.iter().all(|completion| completion.result.is_ok()), "{completions:?}");
    started.member.handle.stop();
    started.member.join().unwrap();
}

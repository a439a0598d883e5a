//! Requests on watch streams.

use etched_proto::etcdserverpb as pb;
use pb::watch_request::RequestUnion;

use super::{Generator, Step, View};

impl Generator {
    pub(super) fn watch_step(&mut self, view: &View) -> Step {
        let request_union = match self.random.below(20) {
            0..=13 => Some(RequestUnion::CreateRequest(self.create(view))),
            14..=18 => {
                let watch_id = self.watch_id();
                Some(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }))
            }
            _ => None,
        };
        Step::Watch(self.stream(view), pb::WatchRequest { request_union })
    }

    fn create(&mut self, view: &View) -> pb::WatchCreateRequest {
        let start_revision = match self.random.below(10) {
            0..=4 => 0,
            5 => view.revision + 1 + i64::try_from(self.random.below(20)).expect("a small number"),
            6 => *self.random.pick(&[-1, i64::MAX, i64::MIN, 1]),
            _ => self.revision(view),
        };
        let filters = match self.random.below(10) {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            3 => vec![7],
            _ => Vec::new(),
        };
        pb::WatchCreateRequest {
            key: self.key(),
            range_end: self.end(),
            start_revision,
            progress_notify: self.random.one_in(4),
            filters,
            prev_kv: self.random.one_in(2),
            watch_id: if self.random.one_in(3) { self.watch_id() } else { 0 },
            fragment: self.random.one_in(3),
        }
    }

    fn watch_id(&mut self) -> i64 {
        *self.random.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 100, 101, -3, i64::MAX])
    }
}

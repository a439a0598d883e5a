//! The thread that prepares log segments ahead of time, so that cutting one costs the core thread nothing.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use etched_wal::{SpareRequest, Wal};

use crate::log;
use crate::member::inbox::{Control, Inbox};

/// The way to the thread: one order at a time.
pub(crate) struct SpareThread {
    orders: SyncSender<SpareRequest>,
    is_ordered: bool,
    /// Before this time none is ordered, since the last order could not be carried out.
    not_before: Duration,
}

/// How long to wait after an order that could not be carried out: most often the disk is full.
const RETRY: Duration = Duration::from_secs(10);

impl SpareThread {
    pub(crate) fn start(inbox: Arc<Inbox>) -> std::io::Result<Self> {
        let (orders, waiting) = sync_channel(1);
        std::thread::Builder::new().name("log-segments".into()).spawn(move || run(&inbox, &waiting))?;
        Ok(Self { orders, is_ordered: false, not_before: Duration::ZERO })
    }

    /// Orders a segment if the log has none in reserve and none is on its way.
    pub(crate) fn ask_if_needed(&mut self, wal: &mut Wal, now: Duration) {
        if !self.is_ordered
            && now >= self.not_before
            && wal.needs_spare()
            && let Some(request) = wal.spare_request()
        {
            self.is_ordered = self.orders.try_send(request).is_ok();
        }
    }

    /// The order was carried out, or could not be.
    pub(crate) fn on_ready(&mut self, was_carried_out: bool, now: Duration) {
        self.is_ordered = false;
        if !was_carried_out {
            self.not_before = now + RETRY;
        }
    }
}

fn run(inbox: &Inbox, waiting: &Receiver<SpareRequest>) {
    while let Ok(request) = waiting.recv() {
        match request.prepare() {
            Ok(spare) => inbox.push_control(Control::SpareReady(Some(spare))),
            Err(error) => {
                // The log makes its next segment itself when it comes to it, and reports a disk that is full then.
                log!(Warn, "cannot prepare a log segment ahead of time", "error" => error.to_string());
                inbox.push_control(Control::SpareReady(None));
            }
        }
    }
}

//! Which of a member's URLs is used.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::flags::Url;

/// Stays with a URL as long as it works, and goes on to the next when it does not.
#[derive(Debug)]
pub(super) struct Picker {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    urls: Vec<Url>,
    picked: usize,
}

impl Picker {
    pub(super) fn new(urls: Vec<Url>) -> Self {
        Self { state: Mutex::new(State { urls, picked: 0 }) }
    }

    /// The URL to use; `None` if the member has none.
    pub(super) fn pick(&self) -> Option<Url> {
        let state = self.lock();
        state.urls.get(state.picked).cloned()
    }

    /// The URL did not work.
    pub(super) fn on_unreachable(&self, url: &Url) {
        let mut state = self.lock();
        // Several requests may fail at the same URL; only the first moves on.
        if state.urls.get(state.picked) == Some(url) {
            state.picked = (state.picked + 1) % state.urls.len();
        }
    }

    /// Other URLs from now on; whether they differ.
    pub(super) fn update(&self, urls: Vec<Url>) -> bool {
        let mut state = self.lock();
        let differ = state.urls != urls;
        if differ {
            *state = State { urls, picked: 0 };
        }
        differ
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parses URLs; those that are none are left out, with a line in the log.
pub(super) fn parse_urls(id: u64, texts: &[String]) -> Vec<Url> {
    let parse = |text: &String| match Url::parse(text) {
        Ok(url) => Some(url),
        Err(error) => {
            crate::log!(
                Warn, "ignored a peer URL",
                "remote-peer-id" => crate::logging::Value::hex(id),
                "url" => text.as_str(),
                "error" => error,
            );
            None
        }
    };
    texts.iter().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_fails_makes_room_for_the_next() {
        let urls = parse_urls(1, &["http://a:1".into(), "nonsense".into(), "http://b:2".into()]);
        let [a, b] = urls.as_slice() else { panic!("two are URLs") };
        let picker = Picker::new(urls.clone());
        assert_eq!(picker.pick().as_ref(), Some(a));
        picker.on_unreachable(b);
        assert_eq!(picker.pick().as_ref(), Some(a), "b was not in use");
        picker.on_unreachable(a);
        picker.on_unreachable(a);
        assert_eq!(picker.pick().as_ref(), Some(b), "the second report came too late");
        picker.on_unreachable(b);
        assert_eq!(picker.pick().as_ref(), Some(a));
    }

    #[test]
    fn new_urls_start_at_the_first() {
        let old = parse_urls(1, &["http://a:1".into(), "http://b:2".into()]);
        let picker = Picker::new(old.clone());
        picker.on_unreachable(&old[0]);
        assert!(!picker.update(old.clone()));
        assert_eq!(picker.pick().as_ref(), Some(&old[1]));
        assert!(picker.update(old[..1].to_vec()));
        assert_eq!(picker.pick().as_ref(), Some(&old[0]));
        assert!(picker.update(Vec::new()));
        assert_eq!(picker.pick(), None);
    }
}

//! Tokens that stand for a user by themselves: 16 random letters, a dot, and the index before that of the entry that
//! made them.
//!
//! For this crate the letters are the token; the index only tells which entry a member must have applied to know it.
//! For members that are etcd the number is a part of the token: it is the index that they had applied when they came to
//! the entry.
//! The table is a member's own and is lost with it.
//! It holds digests only: what leaks from its order, or from a dump of memory, opens nothing.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

/// Tokens of one member; above, the one that runs out first goes.
const TOKENS_MAX: usize = 1 << 17;

/// A token as members know it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimpleToken {
    digest: [u8; 32],
    index: u64,
}

impl SimpleToken {
    /// Reads a token; `None` if it cannot be one.
    pub fn parse(token: &str) -> Option<Self> {
        let (prefix, index) = token.split_once('.')?;
        let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.parse().ok().filter(|_| is_number)?;
        let index: u64 = index;
        Some(Self { digest: digest(prefix), index: index.saturating_add(1) })
    }

    /// The index of the entry that made the token: a member that has not applied it cannot know the token.
    pub fn index(&self) -> u64 {
        self.index
    }
}

impl fmt::Debug for SimpleToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SimpleToken(index {})", self.index)
    }
}

fn digest(prefix: &str) -> [u8; 32] {
    Sha256::digest(prefix.as_bytes()).into()
}

/// The token that the entry at `index` makes of a prefix.
pub fn simple_token(prefix: &str, index: u64) -> String {
    let mut token = String::with_capacity(prefix.len() + 21);
    token.push_str(prefix);
    // Writing to a string cannot fail.
    let _ = write!(token, ".{}", index.saturating_sub(1));
    token
}

/// The tokens that a member knows.
#[derive(Debug)]
pub struct SimpleTokens {
    life_ns: u64,
    by_digest: BTreeMap<[u8; 32], Known>,
}

#[derive(Debug)]
struct Known {
    user: Arc<str>,
    ends_ns: u64,
}

impl SimpleTokens {
    /// No tokens; each lives for `life_ns` nanoseconds after its last use.
    pub fn new(life_ns: u64) -> Self {
        Self { life_ns, by_digest: BTreeMap::new() }
    }

    /// A token with this prefix was made for a user.
    pub fn insert(&mut self, prefix: &str, user: &str, now_ns: u64) {
        if self.by_digest.len() >= TOKENS_MAX {
            self.drop_first_to_end();
        }
        let known = Known { user: user.into(), ends_ns: now_ns.saturating_add(self.life_ns) };
        self.by_digest.insert(digest(prefix), known);
    }

    /// Whom the token stands for; its life begins anew.
    pub fn user(&mut self, token: &SimpleToken, now_ns: u64) -> Option<Arc<str>> {
        let known = self.by_digest.get_mut(&token.digest)?;
        known.ends_ns = now_ns.saturating_add(self.life_ns);
        Some(Arc::clone(&known.user))
    }

    /// Drops the tokens of a user.
    pub fn drop_user(&mut self, user: &str) {
        self.by_digest.retain(|_, known| *known.user != *user);
    }

    /// Drops all tokens.
    pub fn clear(&mut self) {
        self.by_digest.clear();
    }

    /// Drops the tokens whose life is over; to be called about once a second.
    pub fn expire(&mut self, now_ns: u64) {
        self.by_digest.retain(|_, known| known.ends_ns >= now_ns);
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    fn drop_first_to_end(&mut self) {
        let first = self.by_digest.iter().min_by_key(|(_, known)| known.ends_ns);
        if let Some(digest) = first.map(|(digest, _)| *digest) {
            self.by_digest.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> SimpleToken {
        SimpleToken::parse(text).unwrap()
    }

    #[test]
    fn a_token_has_one_dot_and_an_index_behind_it() {
        assert_eq!(token(&simple_token("abcdefghijklmnop", 42)).index(), 42);
        for wrong in [
            "",
            "abc",
            "abc.",
            "abc.x",
            "a.b.7",
            "a.7.7",
            "abc.+7",
            "abc.-7",
            "abc.18446744073709551616",
            "abc.7 ",
        ] {
            assert_eq!(SimpleToken::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(token(".0").index(), 1);
        assert_eq!(token(".18446744073709551615").index(), u64::MAX);
        assert_eq!(simple_token("abc", 42), "abc.41", "as members of etcd know it");
    }

    #[test]
    fn a_token_lives_as_long_as_it_is_used() {
        let mut tokens = SimpleTokens::new(300);
        tokens.insert("a", "alice", 0);
        tokens.insert("b", "bob", 0);
        assert_eq!(tokens.user(&token("a.1"), 200).as_deref(), Some("alice"));
        tokens.expire(300);
        assert_eq!(tokens.len(), 2);
        tokens.expire(301);
        assert_eq!(tokens.user(&token("b.2"), 301), None);
        assert_eq!(tokens.user(&token("a.1"), 301).as_deref(), Some("alice"));
        assert_eq!(tokens.user(&token("a.2"), 301).as_deref(), Some("alice"), "only the letters count");
    }

    #[test]
    fn the_tokens_of_a_user_go_together() {
        let mut tokens = SimpleTokens::new(300);
        for (prefix, user) in [("a", "alice"), ("b", "bob"), ("c", "alice")] {
            tokens.insert(prefix, user, 0);
        }
        tokens.drop_user("alice");
        assert_eq!(tokens.len(), 1);
        assert_eq!(tokens.user(&token("b.2"), 1).as_deref(), Some("bob"));
        tokens.clear();
        assert!(tokens.is_empty());
    }

    #[test]
    fn neither_form_of_a_token_tells_it() {
        let text = alloc::format!("{:?}", token("abcdefghijklmnop.7"));
        assert_eq!(text, "SimpleToken(index 8)");
    }
}

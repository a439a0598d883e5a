//! Who calls: with which token, over a connection with which certificate, and what he may then.

use std::collections::BTreeMap;

use super::calls::Who;

/// Everybody's password.
pub(super) const PASSWORD: &str = "secret";

/// Somebody who calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) name: &'static str,
    pub(super) token: Token,
    /// The common name of his certificate; an empty one is none.
    pub(super) certificate: &'static str,
    /// What he is, seen by the members.
    pub(super) is: Is,
}

/// The token that a caller sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    None,
    /// One that is not known.
    Text(&'static str),
    /// One that this user got when he logged in.
    Of(&'static str),
}

impl Token {
    /// What is sent.
    pub(super) fn text<'a>(self, tokens: &'a BTreeMap<&'static str, String>) -> Option<&'a str> {
        match self {
            Self::None => None,
            Self::Text(text) => Some(text),
            Self::Of(name) => Some(&tokens[name]),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    Nobody,
    /// His token is none.
    Invalid,
    /// He has a name, and a role that is of no use here, or none.
    Somebody,
    /// The same, and there is no user of that name.
    Stranger,
    /// His name, from a certificate, is the empty one.
    Nameless,
    Alice,
    /// Somebody else with her role.
    LikeAlice,
    Root,
}

const fn caller(name: &'static str, token: Token, certificate: &'static str, is: Is) -> Caller {
    Caller { name, token, certificate, is }
}

/// Callers with tokens.
pub(super) const WITH_TOKENS: [Caller; 10] = [
    caller("nobody", Token::None, "", Is::Nobody),
    caller("nonsense", Token::Text("nonsense"), "", Is::Invalid),
    caller("unknown", Token::Text("abcdefghijklmnop.1"), "", Is::Invalid),
    caller("without a role", Token::Of("bob"), "", Is::Somebody),
    caller("wrong role", Token::Of("carol"), "", Is::Somebody),
    caller("role revoked", Token::Of("revoked"), "", Is::Somebody),
    caller("password changed", Token::Of("changed"), "", Is::Invalid),
    caller("user deleted", Token::Of("deleted"), "", Is::Invalid),
    caller("alice", Token::Of("alice"), "", Is::Alice),
    caller("root", Token::Of("root"), "", Is::Root),
];

/// Callers with certificates, and what counts if they have a token too.
pub(super) const WITH_CERTIFICATES: [Caller; 10] = [
    caller("nameless certificate", Token::None, "", Is::Nameless),
    caller("wrong role by certificate", Token::None, "carol", Is::Somebody),
    caller("role revoked by certificate", Token::None, "revoked", Is::Somebody),
    caller("password changed, by certificate", Token::None, "changed", Is::LikeAlice),
    caller("user deleted, by certificate", Token::None, "deleted", Is::Stranger),
    caller("alice by certificate", Token::None, "alice", Is::Alice),
    caller("root by certificate", Token::None, "root", Is::Root),
    caller("root's certificate, nonsense", Token::Text("nonsense"), "root", Is::Invalid),
    caller("root's certificate, alice's token", Token::Of("alice"), "root", Is::Alice),
    caller("bob's certificate, root's token", Token::Of("root"), "bob", Is::Root),
];

impl Caller {
    /// Whether he may make a call.
    pub(super) fn may(&self, call: &super::calls::Call) -> bool {
        // The door of these does not look at who asks.
        let asks_nobody = call.method == "etcdserverpb.Auth/Authenticate" || call.is_health();
        match call.who {
            Who::Everybody => asks_nobody || self.is != Is::Invalid,
            Who::Somebody => !matches!(self.is, Is::Nobody | Is::Invalid),
            // Everybody may ask for himself.
            Who::Alice if call.method.ends_with("/UserGet") => matches!(self.is, Is::Alice | Is::Root),
            Who::Alice => matches!(self.is, Is::Alice | Is::LikeAlice | Is::Root),
            Who::Root => self.is == Is::Root,
        }
    }

    /// The same caller where names in certificates do not count.
    pub(super) fn by_json(self) -> Self {
        let is = if self.is == Is::Nameless { Is::Nobody } else { self.is };
        Self { is, ..self }
    }

    /// Whether an outcome says that he may not.
    pub(super) fn is_refused(&self, outcome: &str) -> bool {
        let texts = ["permission denied", "user name is empty", "invalid auth token", "ends without"];
        texts.iter().any(|text| outcome.contains(text))
            || (matches!(self.is, Is::Stranger | Is::Nameless) && outcome.contains("user name not found"))
    }
}

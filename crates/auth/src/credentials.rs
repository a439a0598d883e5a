//! Who says what of himself, and whom the member believes.

use alloc::sync::Arc;

use crate::tokens::SimpleToken;

/// What came with a request to tell who asks.
///
/// A front reads it from the connection and from the request's metadata, once where possible, and hands it over with
/// each request. While authentication is off nobody looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    Anonymous,
    /// The common name in a certificate that was verified.
    CommonName(Arc<str>),
    /// A token that stands for a user; members know it by its digest.
    Simple(SimpleToken),
    /// A token with a signature, which is good and has not run out.
    Signed(Principal),
    /// A token that is none.
    Invalid,
    /// The member itself, for its own affairs: it may do everything.
    Member,
}

/// Somebody whom the member believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The name, which need not be that of a user.
    pub user: Arc<str>,
    /// The revision of users and roles at which the name was believed; never 0.
    pub revision: u64,
}

//! Who asks: tokens, certificates and passwords, before the member hears of it.
//!
//! ```text
//! metadata `token`, else `authorization` ─┐
//! certificate's common name ──────────────┴▶ Doorman::claim ─▶ Claim ─▶ Claim::credentials ─▶ Api::submit
//! ```
//!
//! A `Claim` is made once for each request, or once for a connection while its token stays the same.
//! `Services::call` puts it into the extensions of the request; whoever answers one takes it from there with
//! `Claim::of` and hands `Claim::credentials` over with everything that he asks the member in the name of his
//! caller. What the server asks for itself goes with `Credentials::Member`.
//!
//! No rule is here: what a principal may do is decided by the member.
//! Here is only what needs a clock, files, randomness or time: signatures of JSON web tokens ([`Doorman`]), and bcrypt
//! (`Passwords`).
//! No token and no password is written to the log.

mod claim;
mod doorman;
mod jwt;
mod passwords;
#[cfg(test)]
mod tests;

pub(crate) use claim::{Claim, KnownClaim, Words};
pub(crate) use doorman::SignError;
pub use doorman::{Doorman, TokenError};
pub(crate) use passwords::Passwords;

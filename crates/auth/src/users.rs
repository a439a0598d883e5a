//! Users: who they are, how they log in, which roles they have.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use etched_backend::{Batch, Table};

use crate::operation::Secret;
use crate::refusal::Refusal;
use crate::store::{Auth, ROOT};
use crate::{password, schema};

/// One user. The name is the key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// The bcrypt hash; empty for one that never matches.
    pub(crate) password: Bytes,
    /// In order.
    pub(crate) roles: Vec<String>,
    /// Whether there is no password; `None` in records of old versions, which had no such option.
    pub(crate) no_password: Option<bool>,
}

impl core::fmt::Debug for User {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { password: _, roles, no_password } = self;
        formatter
            .debug_struct("User")
            .field("roles", roles)
            .field("no_password", no_password)
            .finish_non_exhaustive()
    }
}

impl User {
    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|has| has == role)
    }

    pub(crate) fn has_no_password(&self) -> bool {
        self.no_password == Some(true)
    }
}

impl Auth {
    pub(crate) fn add_user(
        &mut self,
        name: &str,
        password: &Secret,
        hashed: &Secret,
        no_password: Option<bool>,
        index: u64,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(Refusal::UserExists);
        }
        let no_password = no_password.unwrap_or(false);
        let password = if no_password { Bytes::new() } else { self.stored_hash(password, hashed, index)? };
        let user = User { password, roles: Vec::new(), no_password: Some(no_password) };
        self.put_user(name, user, batch);
        self.changed(batch);
        Ok(())
    }

    /// The hash to be stored for what a request gives. A password in the clear stands in entries before 3.5 only; all
    /// members make the same hash of it, since the salt is the place of the entry.
    fn stored_hash(&self, password: &Secret, hashed: &Secret, index: u64) -> Result<Bytes, Refusal> {
        if password.0.is_empty() || !hashed.0.is_empty() {
            let hash = base64(hashed.0.as_bytes()).ok_or(Refusal::NoPasswordUser)?;
            return Ok(hash.into());
        }
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&index.to_be_bytes());
        salt[8..].copy_from_slice(&self.revision().to_be_bytes());
        let hash = password::hash(&password.0, password::COST_DEFAULT, salt);
        hash.map(Into::into).map_err(|_| Refusal::NoPasswordUser)
    }

    pub(crate) fn user_roles(&self, name: &str) -> Result<Vec<String>, Refusal> {
        self.users.get(name).map(|user| user.roles.clone()).ok_or(Refusal::UserNotFound)
    }

    pub(crate) fn delete_user(&mut self, name: &str, batch: &mut Batch) -> Result<(), Refusal> {
        if self.is_enabled && name == ROOT {
            return Err(Refusal::InvalidManagement);
        }
        self.users.remove(name).ok_or(Refusal::UserNotFound)?;
        batch.delete(Table::AuthUsers, name.as_bytes().to_vec());
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn change_password(
        &mut self,
        name: &str,
        password: &Secret,
        hashed: &Secret,
        index: u64,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let mut user = self.users.get(name).cloned().ok_or(Refusal::UserNotFound)?;
        user.password =
            if user.has_no_password() { Bytes::new() } else { self.stored_hash(password, hashed, index)? };
        self.put_user(name, user, batch);
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn grant_role(&mut self, name: &str, role: &str, batch: &mut Batch) -> Result<(), Refusal> {
        let mut user = self.users.get(name).cloned().ok_or(Refusal::UserNotFound)?;
        if role != ROOT && !self.roles.contains_key(role) {
            return Err(Refusal::RoleNotFound);
        }
        if user.has_role(role) {
            return Ok(());
        }
        user.roles.push(role.into());
        user.roles.sort();
        self.put_user(name, user, batch);
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn revoke_role(&mut self, name: &str, role: &str, batch: &mut Batch) -> Result<(), Refusal> {
        if self.is_enabled && name == ROOT && role == ROOT {
            return Err(Refusal::InvalidManagement);
        }
        let mut user = self.users.get(name).cloned().ok_or(Refusal::UserNotFound)?;
        if !user.has_role(role) {
            return Err(Refusal::RoleNotGranted);
        }
        user.roles.retain(|has| has != role);
        self.put_user(name, user, batch);
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn put_user(&mut self, name: &str, user: User, batch: &mut Batch) {
        batch.put(Table::AuthUsers, name.as_bytes().to_vec(), schema::encode_user(name, &user));
        self.users.insert(name.into(), user);
    }
}

/// Decodes base64 as Go's standard encoding does: with padding, line ends ignored, unused bits as they come.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    let mut groups = digits.chunks(4).peekable();
    while let Some(group) = groups.next() {
        let given = match group {
            [_, _, b'=', b'='] if groups.peek().is_none() => 2,
            [_, _, _, b'='] if groups.peek().is_none() => 3,
            [_, _, _, _] => 4,
            _ => return None,
        };
        let mut bits = 0_u32;
        for digit in &group[..given] {
            bits = bits << 6 | u32::from(base64_value(*digit)?);
        }
        bits <<= 6 * (4 - given);
        bytes.extend_from_slice(&bits.to_be_bytes()[1..given]);
    }
    Some(bytes)
}

fn base64_value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_go() {
        assert_eq!(base64(b"").unwrap(), b"");
        assert_eq!(base64(b"YQ==").unwrap(), b"a");
        assert_eq!(base64(b"YWI=").unwrap(), b"ab");
        assert_eq!(base64(b"YWJj").unwrap(), b"abc");
        assert_eq!(base64(b"YWJj\r\nYQ==\n").unwrap(), b"abca");
        assert_eq!(base64(b"YR==").unwrap(), b"a", "unused bits do not matter");
        assert_eq!(base64(b"++//").unwrap(), [0xfb, 0xef, 0xff]);
        for broken in [&b"Y"[..], b"YQ", b"YQ=", b"YQ==YQ==", b"Y===", b"====", b"Y Q=", b"-_--", b"YWJjY"] {
            assert_eq!(base64(broken), None, "{broken:?}");
        }
    }
}

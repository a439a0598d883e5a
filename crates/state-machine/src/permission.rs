//! Who may do what: each command and each read against the rights of who asks, at its place between the changes of them.
//!
//! There is one fold over requests, used where entries are applied and where reads are served.
//! Every match lists all kinds, so that a new command does not compile before it is judged.

use etched_auth::{Auth, Principal, Refusal as AuthRefusal};
use etched_key_range::KeyRange;
use etched_lease::Leases;

use crate::command::{Command, DeleteRange, Header, Put, Range, Txn, TxnOp};
use crate::machine::{State, StateMachine};
use crate::refusal::Refusal;

/// Somebody, or nobody, who asks for something.
pub type Asker<'a> = Option<&'a Principal>;

impl Header {
    /// Who asks, as the member found that proposed the entry; nobody has revision 0.
    pub(crate) fn principal(&self) -> Option<Principal> {
        let Self { username, auth_revision: revision, .. } = self;
        (*revision != 0).then(|| Principal { user: username.as_str().into(), revision: *revision })
    }
}

/// What is asked of a command where it is applied.
pub(crate) fn admit(header: &Header, command: &Command, state: &State) -> Result<(), Refusal> {
    if !state.auth.is_enabled() {
        return Ok(());
    }
    let principal = header.principal();
    let judge = Judge { auth: &state.auth, leases: &state.leases, asker: principal.as_ref() };
    match command {
        Command::Put(put) => judge.put(put),
        Command::DeleteRange(delete) => {
            judge.write(&delete.range)?;
            if delete.prev_kv { judge.read(&delete.range) } else { Ok(()) }
        }
        Command::Txn(txn) => judge.txn(txn),
        Command::Range(range) => judge.read(&range.query.range),
        Command::LeaseRevoke { id } => judge.keys_of_lease(*id, Judge::write),
        Command::Auth(operation) => Ok(state.auth.permit_operation(judge.asker, operation)?),
        // Those of clients were looked at when they were proposed; the others are the members' own.
        Command::Compact(_)
        | Command::LeaseGrant { .. }
        | Command::LeaseCheckpoint(_)
        | Command::Alarm(_)
        | Command::ClusterVersionSet { .. }
        | Command::MemberAttributes { .. }
        | Command::DowngradeSet { .. }
        | Command::DowngradeVersionTest { .. }
        // That API has users of its own.
        | Command::V2(_) => Ok(()),
    }
}

impl StateMachine {
    /// Users and roles.
    pub fn auth(&self) -> &Auth {
        &self.state.auth
    }

    /// Asks whether a range may be read.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn permit_range(&self, asker: Asker<'_>, range: &Range) -> Result<(), Refusal> {
        self.judge(asker).read(&range.query.range)
    }

    /// Asks whether a transaction may be done, whichever branch it takes.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn permit_txn(&self, asker: Asker<'_>, txn: &Txn) -> Result<(), Refusal> {
        if self.state.auth.is_enabled() { self.judge(asker).txn(txn) } else { Ok(()) }
    }

    /// Asks whether a lease may be renewed: all its keys must be the asker's to write.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn permit_renewal(&self, asker: Asker<'_>, lease: i64) -> Result<(), Refusal> {
        self.state.auth.permit_somebody(asker)?;
        self.judge(asker).keys_of_lease(lease, Judge::write)
    }

    /// Asks whether the keys of a lease may be told.
    ///
    /// # Errors
    ///
    /// Why they may not.
    pub fn permit_keys_of_lease(&self, asker: Asker<'_>, lease: i64) -> Result<(), Refusal> {
        self.state.auth.permit_somebody(asker)?;
        self.judge(asker).keys_of_lease(lease, Judge::read)
    }

    /// Asks whether all leases may be told.
    ///
    /// # Errors
    ///
    /// Why they may not.
    pub fn permit_leases(&self, asker: Asker<'_>) -> Result<(), Refusal> {
        self.state.auth.permit_somebody(asker)?;
        let judge = self.judge(asker);
        self.state.leases.iter().try_for_each(|(id, _)| judge.keys_of_lease(id, Judge::read))
    }

    fn judge<'a>(&'a self, asker: Asker<'a>) -> Judge<'a> {
        Judge { auth: &self.state.auth, leases: &self.state.leases, asker }
    }
}

/// One who asks, and all that decides what he may do.
struct Judge<'a> {
    auth: &'a Auth,
    leases: &'a Leases,
    asker: Asker<'a>,
}

impl Judge<'_> {
    fn read(&self, range: &KeyRange) -> Result<(), Refusal> {
        Ok(self.auth.permit_read(self.asker, range)?)
    }

    fn write(&self, range: &KeyRange) -> Result<(), Refusal> {
        Ok(self.auth.permit_write(self.asker, range)?)
    }

    /// Who attaches a key to a lease must be able to end the lease.
    fn put(&self, put: &Put) -> Result<(), Refusal> {
        let key = KeyRange::single(put.key.clone());
        self.write(&key)?;
        self.keys_of_lease(put.lease, Self::write)?;
        if put.prev_kv { self.read(&key) } else { Ok(()) }
    }

    /// In a transaction the wish to read is asked for first.
    fn delete_in_txn(&self, delete: &DeleteRange) -> Result<(), Refusal> {
        if delete.prev_kv {
            self.read(&delete.range)?;
        }
        self.write(&delete.range)
    }

    fn txn(&self, txn: &Txn) -> Result<(), Refusal> {
        txn.compares.iter().try_for_each(|compare| self.read(&compare.range))?;
        txn.success.iter().chain(&txn.failure).try_for_each(|op| match op {
            TxnOp::Range(range) => self.read(&range.query.range),
            TxnOp::Put(put) => self.put(put),
            TxnOp::DeleteRange(delete) => self.delete_in_txn(delete),
            TxnOp::Txn(nested) => self.txn(nested),
            TxnOp::Absent => Ok(()),
        })
    }

    /// Asks for each key that the lease holds, unless it is root who asks. A lease that does not exist holds none.
    fn keys_of_lease(
        &self,
        lease: i64,
        permit: fn(&Self, &KeyRange) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Some(lease) = self.leases.get(lease) else { return Ok(()) };
        if self.auth.permit_root(self.asker).is_ok() {
            return Ok(());
        }
        lease.keys().try_for_each(|key| permit(self, &KeyRange::single(key.clone())))
    }
}

impl From<AuthRefusal> for Refusal {
    fn from(refusal: AuthRefusal) -> Self {
        Self::Auth(refusal)
    }
}

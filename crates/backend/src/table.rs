//! The tables: those of etcd's buckets, with their names, and one of our own.

use core::fmt;

/// One of the fixed tables of a backend.
///
/// The order of the variants is the order in which a batch is applied and is not part of any stored format.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Revisions of keys.
    Key,
    /// The applied index and term, compaction progress, the storage version.
    Meta,
    /// Leases by id.
    Lease,
    /// Alarms that are raised.
    Alarm,
    /// Whether authentication is on, and its revision.
    Auth,
    /// Users by name.
    AuthUsers,
    /// Roles by name.
    AuthRoles,
    /// The cluster's version and a downgrade under way.
    Cluster,
    /// Members by id.
    Members,
    /// Ids of members that were removed and may never return.
    MembersRemoved,
    /// What an index has to know of each record of [`Table::Key`], packed; it can be made from that table alone.
    Catalog,
    /// The tree of the v2 API; etcd has no such bucket, and a file has one only if there is something in it.
    V2,
}

impl Table {
    /// Every table, in order.
    pub const ALL: [Self; 12] = [
        Self::Key,
        Self::Meta,
        Self::Lease,
        Self::Alarm,
        Self::Auth,
        Self::AuthUsers,
        Self::AuthRoles,
        Self::Cluster,
        Self::Members,
        Self::MembersRemoved,
        Self::Catalog,
        Self::V2,
    ];

    /// The tables that etcd has as well: what snapshots always hold and what hashes cover.
    pub const BUCKETS: [Self; 10] = [
        Self::Key,
        Self::Meta,
        Self::Lease,
        Self::Alarm,
        Self::Auth,
        Self::AuthUsers,
        Self::AuthRoles,
        Self::Cluster,
        Self::Members,
        Self::MembersRemoved,
    ];

    /// Whether the table holds nothing that other tables do not hold too.
    ///
    /// Such a table differs between members that are equal in all else, and takes no part in what is seen of them.
    #[must_use]
    pub const fn is_derived(self) -> bool {
        matches!(self, Self::Catalog)
    }

    /// The name of the table, which is the name of etcd's bucket for the same records if it has one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Meta => "meta",
            Self::Lease => "lease",
            Self::Alarm => "alarm",
            Self::Auth => "auth",
            Self::AuthUsers => "authUsers",
            Self::AuthRoles => "authRoles",
            Self::Cluster => "cluster",
            Self::Members => "members",
            Self::MembersRemoved => "members_removed",
            Self::Catalog => "catalog",
            Self::V2 => "v2",
        }
    }

    /// The table of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Where the table stands in [`Table::ALL`].
    #[cfg(feature = "std")]
    pub(crate) const fn position(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_listed_once_at_its_place_and_found_by_its_name() {
        for (position, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, position);
            assert_eq!(Table::from_name(table.name()), Some(table));
        }
        assert_eq!(Table::from_name("Key"), None);
    }

    #[test]
    fn the_buckets_are_the_tables_that_are_not_our_own() {
        let is_own = |table: &Table| table.is_derived() || *table == Table::V2;
        assert!(Table::ALL.into_iter().filter(|table| !is_own(table)).eq(Table::BUCKETS));
    }
}

//! The real etcd as the other member.

//! The bytes of a simulated file: pages that copies share until one of them writes.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// A sparse array of bytes. A page that was never written is zeros and takes no memory; a clone is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>,
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn write(&mut self, mut bytes: &[u8], mut offset: u64) {
        self.len = self.len.max(offset + bytes.len() as u64);
        while !bytes.is_empty() {
            let at = within(offset);
            let (now, later) = bytes.split_at(bytes.len().min(PAGE_BYTES - at));
            let page = self.pages.entry(offset / PAGE).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[at..at + now.len()].copy_from_slice(now);
            offset += now.len() as u64;
            bytes = later;
        }
    }

    /// Fills the front of `buffer` with what there is, and returns how much that was.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let available = self.len.saturating_sub(offset).min(buffer.len() as u64);
        let available = usize::try_from(available).expect("no more than a buffer's length");
        let mut done = 0;
        while done < available {
            let position = offset + done as u64;
            let at = within(position);
            let count = (available - done).min(PAGE_BYTES - at);
            let target = &mut buffer[done..done + count];
            match self.pages.get(&(position / PAGE)) {
                Some(page) => target.copy_from_slice(&page[at..at + count]),
                None => target.fill(0),
            }
            done += count;
        }
        available
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE));
            if let Some(page) = self.pages.get_mut(&(len / PAGE)) {
                Arc::make_mut(page)[within(len)..].fill(0);
            }
        }
        self.len = len;
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).expect("a simulated file fits into memory")];
        self.read(&mut bytes, 0);
        bytes
    }
}

fn within(offset: u64) -> usize {
    usize::try_from(offset % PAGE).expect("less than a page")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_and_regrown_file_reads_zeros_where_bytes_were() {
        let mut pages = Pages::default();
        pages.write(&[7; 10_000], 0);
        pages.set_len(5_000);
        pages.set_len(10_000);
        let bytes = pages.to_vec();
        assert!(bytes[..5_000].iter().all(|byte| *byte == 7));
        assert!(bytes[5_000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_clone_does_not_see_later_writes() {
        let mut pages = Pages::default();
        pages.write(b"one", 4_095);
        let copy = pages.clone();
        pages.write(b"two", 4_095);
        assert_eq!(&copy.to_vec()[4_095..], b"one");
        assert_eq!(&pages.to_vec()[4_095..], b"two");
    }
}

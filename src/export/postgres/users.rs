//! Writes the users of a day into a table, by PostgreSQL's binary COPY, in pieces.

use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::Xxh3;

use super::Result;
use super::connect::{Link, within};
use crate::calendar::Day;
use crate::counter::CounterName;
use crate::export::Row;
use crate::storage::Reader;

/// 2000-01-01, from which PostgreSQL counts days, in days since 1970.
const POSTGRES_DAY_0: i32 = 10_957;

/// Signature, flags, length of the header's extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();

/// All users of a row, known by their number and a digest of their ids in order.
#[derive(Default)]
pub(super) struct Crowd {
    pub(super) count: u64,
    ids: Xxh3,
}

impl Crowd {
    fn add(&mut self, user: &str) {
        self.count += 1;
        self.ids.update(&(user.len() as u64).to_be_bytes());
        self.ids.update(user.as_bytes());
    }

    pub(super) fn digest(&self) -> [u8; 16] {
        self.ids.digest128().to_be_bytes()
    }
}

/// Counts the users in the store.
pub(super) async fn counted(row: &Row, reader: &Reader, progress: &AtomicU64) -> Result<Crowd> {
    let mut crowd = Crowd::default();
    let Some(mut users) = row.users() else {
        return Ok(crowd);
    };
    while let Some(page) = users.next(reader)? {
        page.iter().for_each(|user| crowd.add(user));
        progress.fetch_add(page.len() as u64, Ordering::Relaxed);
        // So that the work can be cut off between two pages.
        tokio::task::yield_now().await;
    }
    Ok(crowd)
}

/// Copies the users into `counter_history_users`, within the caller's transaction. Each piece has the limit of a
/// statement; the COPY as a whole has none.
pub(super) async fn copy(
    link: &mut Link,
    row: &Row,
    reader: &Reader,
    progress: &AtomicU64,
) -> Result<Crowd> {
    let mut crowd = Crowd::default();
    let Some(mut users) = row.users() else {
        return Ok(crowd);
    };
    link.be_patient(true).await?;
    let (connection, limit) = link.parts();
    let statement =
        "COPY counter_history_users (counter_name, date, user_id) FROM STDIN (FORMAT binary)";
    let mut copy = within(limit, connection.copy_in_raw(statement)).await?;
    let mut piece = HEADER.to_vec();
    while let Some(page) = users.next(reader)? {
        progress.fetch_add(page.len() as u64, Ordering::Relaxed);
        for user in page {
            crowd.add(&user);
            push_row(&mut piece, &row.name, row.past.day, &user);
        }
        within(limit, copy.send(&piece[..])).await?;
        piece.clear();
    }
    piece.extend_from_slice(&TRAILER);
    within(limit, copy.send(&piece[..])).await?;
    within(limit, copy.finish()).await?;
    link.be_patient(false).await?;
    Ok(crowd)
}

fn push_row(piece: &mut Vec<u8>, name: &CounterName, day: Day, user: &str) {
    piece.extend_from_slice(&3i16.to_be_bytes());
    push_field(piece, name.as_str().as_bytes());
    let days = day.days() - POSTGRES_DAY_0;
    push_field(piece, &days.to_be_bytes());
    push_field(piece, user.as_bytes());
}

fn push_field(piece: &mut Vec<u8>, bytes: &[u8]) {
    // Names and ids are far shorter than 2 GiB.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    piece.extend_from_slice(&length.to_be_bytes());
    piece.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_these_bytes() {
        let mut piece = Vec::new();
        let day = "2000-01-03".parse().unwrap();
        push_row(&mut piece, &CounterName::parse("ab").unwrap(), day, "u");
        assert_eq!(piece, b"\0\x03\0\0\0\x02ab\0\0\0\x04\0\0\0\x02\0\0\0\x01u");
        assert_eq!(HEADER.len(), 19);
    }

    #[test]
    fn crowds_differ_by_every_id_and_its_bounds() {
        let crowd = |users: &[&str]| {
            let mut crowd = Crowd::default();
            users.iter().for_each(|user| crowd.add(user));
            (crowd.count, crowd.digest())
        };
        assert_eq!(crowd(&["a", "b"]), crowd(&["a", "b"]));
        assert_ne!(crowd(&["ab", "c"]), crowd(&["a", "bc"]));
        assert_ne!(crowd(&["a"]), crowd(&["b"]));
    }
}
